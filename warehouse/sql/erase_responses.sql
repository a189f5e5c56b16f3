-- An erased student's responses go.
DELETE FROM responses WHERE response_id IN (SELECT response_id FROM gone)
