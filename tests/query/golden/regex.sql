-- filter: {"config.opt": {"$not": {"$regex": "^adam"}}, "name": {"$regex": "x"}}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'config' AND p0.key = ?
WHERE (NOT ((CASE WHEN p0.t = 4 THEN len(list_filter(TRY(json_extract(p0.s, '$[*]')), lambda e: json_type(e) = 'VARCHAR' AND regexp_matches(json_extract_string(e, '$'), ?))) > 0 ELSE p0.t = 3 AND regexp_matches(p0.s, ?) END) IS TRUE) AND ((regexp_matches(r.run, ?)) IS TRUE))
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["opt", "^adam", "^adam", "x"]
-- paths: [["config", "opt"]]
