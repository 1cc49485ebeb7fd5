-- filter: {"config.lr": {"$ne": 0.1}}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'config' AND p0.key = ?
WHERE NOT ((CASE WHEN p0.t = 4 THEN list_has_any(TRY_CAST(TRY(json_extract(p0.s, '$[*]'))::VARCHAR[] AS DOUBLE[]), ?::DOUBLE[]) ELSE (p0.t <= 1 AND p0.v = ?) END) IS TRUE)
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["lr", [0.1], 0.1]
-- paths: [["config", "lr"]]
