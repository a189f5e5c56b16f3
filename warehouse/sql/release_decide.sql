-- A decision about a run. It comes after those that are there, even where the clock was put back.
INSERT INTO release_decisions
SELECT $run_id, $decision, $decided_by, $reason,
       greatest($now, coalesce(max(decided_at) + INTERVAL 1 MICROSECOND, $now))
FROM release_decisions
WHERE run_id = $run_id
