-- filter: {"$or": [{"tags": null}, {"tags": {"$ne": "x"}}]}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'attr' AND p0.key = ?
WHERE ((((CASE WHEN p0.t = 4 THEN list_has_any(TRY(json_extract(p0.s, '$[*]')), ['null']::JSON[]) ELSE (p0.t IS NULL OR p0.t = 5) END) IS TRUE) OR (((p0.t IS NULL OR p0.t = 5) OR (p0.t = 4 AND TRY(json_array_length(p0.s)) = 0)) IS TRUE)) OR NOT ((CASE WHEN p0.t = 4 THEN list_contains(TRY(json_extract(p0.s, '$[*]')), to_json(?::VARCHAR)) ELSE (p0.t = 3 AND p0.s = ?) END) IS TRUE))
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["tags", "x", "x"]
-- paths: [["attr", "tags"]]
