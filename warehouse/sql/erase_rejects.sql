-- A refused row stays and says of nobody whose it was: counts of rejects are counts of runs.
UPDATE rejects SET response_id = NULL WHERE response_id IN (SELECT response_id FROM gone)
