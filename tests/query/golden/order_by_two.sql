-- filter: {}
-- order: ["-config.lr", "displayName"]
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'config' AND p0.key = ?
LEFT JOIN live p1 ON p1.run = r.run AND p1.kind = 'attr' AND p1.key = ?
WHERE TRUE
ORDER BY CASE WHEN p0.t <= 1 AND NOT isnan(p0.v) THEN 0 WHEN p0.t = 3 THEN 1 WHEN p0.t = 2 THEN 2 ELSE 3 END, CASE WHEN p0.t <= 2 AND NOT isnan(p0.v) THEN p0.v END DESC NULLS LAST, CASE WHEN abs(p0.v) >= 9007199254740992 THEN coalesce(p0.i, TRY_CAST(p0.s AS HUGEINT), TRY_CAST(p0.v AS HUGEINT)) END DESC NULLS LAST, CASE WHEN p0.t = 3 THEN p0.s END DESC NULLS LAST, CASE WHEN p1.t <= 1 AND NOT isnan(p1.v) THEN 0 WHEN p1.t = 3 THEN 1 WHEN p1.t = 2 THEN 2 ELSE 3 END, CASE WHEN p1.t <= 2 AND NOT isnan(p1.v) THEN p1.v END ASC NULLS LAST, CASE WHEN abs(p1.v) >= 9007199254740992 THEN coalesce(p1.i, TRY_CAST(p1.s AS HUGEINT), TRY_CAST(p1.v AS HUGEINT)) END ASC NULLS LAST, CASE WHEN p1.t = 3 THEN p1.s END ASC NULLS LAST, r.created_at NULLS LAST, r.run
-- params: ["lr", "name"]
-- paths: [["config", "lr"], ["attr", "name"]]
