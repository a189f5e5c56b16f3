-- An erased student's scores go: the one statement that takes anything from the ledger.
DELETE FROM scores WHERE response_id IN (SELECT response_id FROM gone)
