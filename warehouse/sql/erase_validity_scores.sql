-- An erased student's scores of validity responses go.
DELETE FROM validity_scores WHERE response_id IN (SELECT response_id FROM gone)
