-- filter: {"config.seed": {"$gt": 9007199254740993}}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'config' AND p0.key = ?
WHERE ((CASE WHEN p0.t = 4 THEN len(list_filter(TRY(json_extract(p0.s, '$[*]'))::VARCHAR[], lambda e: CASE WHEN regexp_full_match(e, '[-0-9]+') THEN (NOT starts_with(e, '-') AND (length(e), e) > (?, ?)) ELSE (TRY_CAST(e AS DOUBLE) > ? AND NOT isnan(TRY_CAST(e AS DOUBLE))) END)) > 0 ELSE p0.t <= 1 AND CASE WHEN p0.t = 1 THEN (NOT starts_with(coalesce(p0.i::VARCHAR, p0.s), '-') AND (length(coalesce(p0.i::VARCHAR, p0.s)), coalesce(p0.i::VARCHAR, p0.s)) > (?, ?)) ELSE (p0.v > ? AND NOT isnan(p0.v)) END END) IS TRUE)
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["seed", 16, "9007199254740993", 9007199254740992.0, 16, "9007199254740993", 9007199254740992.0]
-- paths: [["config", "seed"]]
