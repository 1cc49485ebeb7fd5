-- filter: {"config.layers": [64, 128]}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'config' AND p0.key = ?
WHERE ((CASE WHEN p0.t = 4 THEN (TRY(json_type(p0.s) = 'ARRAY' AND list_transform(json_extract(p0.s, '$[*]')::VARCHAR[], lambda x: coalesce((TRY_CAST(x AS DOUBLE) + 0)::VARCHAR, x)) = list_transform(json_extract(?::JSON, '$[*]')::VARCHAR[], lambda x: coalesce((TRY_CAST(x AS DOUBLE) + 0)::VARCHAR, x))) OR len(list_filter(TRY(json_extract(p0.s, '$[*]')), lambda e: TRY(json_type(e) = 'ARRAY' AND list_transform(json_extract(e, '$[*]')::VARCHAR[], lambda x: coalesce((TRY_CAST(x AS DOUBLE) + 0)::VARCHAR, x)) = list_transform(json_extract(?::JSON, '$[*]')::VARCHAR[], lambda x: coalesce((TRY_CAST(x AS DOUBLE) + 0)::VARCHAR, x))))) > 0) ELSE FALSE END) IS TRUE)
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["layers", "[64, 128]", "[64, 128]"]
-- paths: [["config", "layers"]]
