-- filter: {"config.lr": {"$exists": true}}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN (SELECT run, min(k) AS k, arg_min_null(t, k) AS t, arg_min_null(v, k) AS v, arg_min_null(i, k) AS i, arg_min_null(s, k) AS s FROM (SELECT run, CASE WHEN key = ? THEN 0 WHEN key >= ? AND key < ? THEN 1 END AS k, if(k % 2 = 1, 7, t) AS t, v, i, s FROM live WHERE kind = 'config' AND key >= ? AND key < ?) WHERE k IS NOT NULL GROUP BY run) p0 ON p0.run = r.run
WHERE (p0.t IS NOT NULL)
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["lr", "lr.", "lr/", "lr", "lr/"]
-- paths: [["config", "lr"]]
