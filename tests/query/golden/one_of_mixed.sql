-- filter: {"config.k": {"$in": [1, 2.5, "a", "b", true, null]}}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN (SELECT run, min(k) AS k, arg_min_null(t, k) AS t, arg_min_null(v, k) AS v, arg_min_null(i, k) AS i, arg_min_null(s, k) AS s FROM (SELECT run, CASE WHEN key = ? THEN 0 WHEN key >= ? AND key < ? THEN 1 END AS k, if(k % 2 = 1, 7, t) AS t, v, i, s FROM live WHERE kind = 'config' AND key >= ? AND key < ?) WHERE k IS NOT NULL GROUP BY run) p0 ON p0.run = r.run
WHERE ((CASE WHEN p0.t = 4 THEN (list_has_any(TRY_CAST(TRY(json_extract(p0.s, '$[*]'))::VARCHAR[] AS DOUBLE[]), ?::DOUBLE[]) OR list_has_any(TRY(json_extract(p0.s, '$[*]')), list_transform(?::VARCHAR[], lambda x: to_json(x))) OR list_has_any(TRY(json_extract(p0.s, '$[*]')), ['true', 'null']::JSON[])) ELSE ((p0.t <= 1 AND p0.v IN (?, ?)) OR (p0.t = 3 AND p0.s IN (?, ?)) OR (p0.t = 2 AND p0.i = 1) OR (p0.t IS NULL OR p0.t = 5)) END) IS TRUE)
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["k", "k.", "k/", "k", "k/", [1.0, 2.5], ["a", "b"], 1.0, 2.5, "a", "b"]
-- paths: [["config", "k"]]
