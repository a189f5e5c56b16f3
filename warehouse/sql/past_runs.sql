-- Nightly runs and backfills that had begun before $until, with the decision that stood then.
SELECT r.run_id, r.kind, r.administration_date, d.decision, d.decided_by, d.reason, d.decided_at
FROM runs r
LEFT JOIN (
    SELECT *
    FROM release_decisions
    WHERE decided_at < $until
    QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY decided_at DESC) = 1
) d ON d.run_id = r.run_id
WHERE r.kind IN ('nightly', 'backfill') AND r.started_at < $until
ORDER BY r.started_at, r.run_id
