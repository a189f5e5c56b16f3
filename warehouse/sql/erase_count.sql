-- How many rows of each run and table are about to be removed.
INSERT INTO erased_rows
SELECT $pseudo_sha256, run_id, table_name, count(*)
FROM (
    SELECT run_id, 'scores' AS table_name, response_id FROM scores
    UNION ALL
    SELECT run_id, 'validity_scores', response_id FROM validity_scores
    UNION ALL
    SELECT e.run_id, 'responses', r.response_id
    FROM responses r
    JOIN exports e ON e.export_sha256 = r.export_sha256
    UNION ALL
    SELECT e.run_id, 'human_scores', h.response_id
    FROM human_scores h
    JOIN exports e ON e.export_sha256 = h.export_sha256
)
WHERE response_id IN (SELECT response_id FROM gone)
GROUP BY run_id, table_name
