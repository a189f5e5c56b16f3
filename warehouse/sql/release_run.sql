-- What a run is, and the decision about it that stands; that is null where there is none.
SELECT r.kind, r.status, d.decision, d.decided_by, d.reason
FROM runs r
LEFT JOIN latest_decisions d ON d.run_id = r.run_id
WHERE r.run_id = $run_id
