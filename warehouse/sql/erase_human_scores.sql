-- What people gave an erased student goes.
DELETE FROM human_scores WHERE response_id IN (SELECT response_id FROM gone)
