-- filter: {"$nor": [{"state": "failed"}, {"$and": [{"duration": {"$gt": 60}}, {"createdAt": {"$lt": "2024-01-08"}}]}]}
SELECT r.run, count(*) OVER () AS total
FROM runs r
WHERE NOT (((r.state = ?) IS TRUE) OR ((((r.duration > ? AND NOT isnan(r.duration))) IS TRUE) AND ((r.created_at < ?) IS TRUE)))
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["failed", 60.0, 1704672000000000]
-- paths: []
