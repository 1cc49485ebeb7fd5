-- filter: {"config.grid": [[1, 2], {"a": null}]}
SELECT r.run, count(*) OVER () AS total
FROM runs r
LEFT JOIN live p0 ON p0.run = r.run AND p0.kind = 'config' AND p0.key = ?
WHERE ((CASE WHEN p0.t = 4 THEN (TRY((json_type(p0.s, ?) = 'ARRAY' AND json_array_length(p0.s, ?) = ? AND json_type(p0.s, ?) = 'ARRAY' AND json_array_length(p0.s, ?) = ? AND len(list_filter([json_extract(p0.s, ?)::VARCHAR], lambda e: (TRY_CAST(e AS DOUBLE) = ?))) > 0 AND len(list_filter([json_extract(p0.s, ?)::VARCHAR], lambda e: (TRY_CAST(e AS DOUBLE) = ?))) > 0 AND json_type(p0.s, ?) = 'OBJECT' AND len(json_keys(p0.s, ?)) = ? AND json_type(p0.s, ?) = 'NULL')) OR len(list_filter(TRY(json_extract(p0.s, '$[*]')), lambda e: TRY((json_type(e, ?) = 'ARRAY' AND json_array_length(e, ?) = ? AND json_type(e, ?) = 'ARRAY' AND json_array_length(e, ?) = ? AND len(list_filter([json_extract(e, ?)::VARCHAR], lambda e: (TRY_CAST(e AS DOUBLE) = ?))) > 0 AND len(list_filter([json_extract(e, ?)::VARCHAR], lambda e: (TRY_CAST(e AS DOUBLE) = ?))) > 0 AND json_type(e, ?) = 'OBJECT' AND len(json_keys(e, ?)) = ? AND json_type(e, ?) = 'NULL')))) > 0) ELSE FALSE END) IS TRUE)
ORDER BY r.created_at ASC NULLS LAST, r.run
-- params: ["grid", "", "", 2, "/0", "/0", 2, "/0/0", 1.0, "/0/1", 2.0, "/1", "/1", 1, "/1/a", "", "", 2, "/0", "/0", 2, "/0/0", 1.0, "/0/1", 2.0, "/1", "/1", 1, "/1/a"]
-- paths: [["config", "grid"]]
