-- The subgroups of the responses that an export brings.
INSERT INTO subgroups
SELECT s.response_id, g.attribute, g.level, $export_sha256
FROM read_parquet($subgroups) g
JOIN staged s ON s.row = g.row
JOIN outcomes o ON o.row = g.row
WHERE o.outcome = 'accepted'
