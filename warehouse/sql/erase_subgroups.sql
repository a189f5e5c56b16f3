-- Which groups an erased student belonged to goes.
DELETE FROM subgroups WHERE response_id IN (SELECT response_id FROM gone)
