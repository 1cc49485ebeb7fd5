-- filter: {}
SELECT r.run, count(*) OVER () AS total
FROM runs r
WHERE TRUE
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: []
-- paths: []
