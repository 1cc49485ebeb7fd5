-- filter: {"config.lr": {"$gte": 0.01, "$lt": 0.1}, "state": "Finished"}
-- order: "-summary_metrics.acc"
-- limit: 50
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'config' AND p0.key = ?
LEFT JOIN live p1 ON p1.run = r.run AND p1.kind = 'summary' AND p1.key = ?
WHERE ((((CASE WHEN p0.t = 4 THEN len(list_filter(TRY(json_extract(p0.s, '$[*]'))::VARCHAR[], lambda e: (TRY_CAST(e AS DOUBLE) >= ? AND NOT isnan(TRY_CAST(e AS DOUBLE))))) > 0 ELSE p0.t <= 1 AND (p0.v >= ? AND NOT isnan(p0.v)) END) IS TRUE) AND ((CASE WHEN p0.t = 4 THEN len(list_filter(TRY(json_extract(p0.s, '$[*]'))::VARCHAR[], lambda e: (TRY_CAST(e AS DOUBLE) < ?))) > 0 ELSE p0.t <= 1 AND (p0.v < ?) END) IS TRUE)) AND ((r.state = ?) IS TRUE))
ORDER BY CASE WHEN p1.t <= 1 AND NOT isnan(p1.v) THEN 0 WHEN p1.t = 3 THEN 1 WHEN p1.t = 2 THEN 2 ELSE 3 END, CASE WHEN p1.t <= 2 AND NOT isnan(p1.v) THEN p1.v END DESC NULLS LAST, CASE WHEN abs(p1.v) >= 9007199254740992 THEN coalesce(p1.i, TRY_CAST(p1.s AS HUGEINT), TRY_CAST(p1.v AS HUGEINT)) END DESC NULLS LAST, CASE WHEN p1.t = 3 THEN p1.s END DESC NULLS LAST, r.created_at NULLS LAST, r.run
LIMIT ? OFFSET ?
-- params: ["lr", "acc", 0.01, 0.01, 0.1, 0.1, "finished", 50, 0]
-- paths: [["config", "lr"], ["summary", "acc"]]
