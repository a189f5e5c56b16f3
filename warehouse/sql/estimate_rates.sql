-- What scoring took in the last ten runs that computed anything, by item and trait: scores, seconds of
-- their batches, and seconds of all scoring (with loading adapters and reading texts), which is known
-- of a run as a whole.
WITH past AS (
    SELECT run_id, responses_per_s
    FROM runs
    WHERE kind IN ('nightly', 'backfill') AND responses_per_s > 0
    ORDER BY started_at DESC
    LIMIT 10
)
SELECT s.item_id,
       s.trait,
       count(*) AS n,
       sum(s.latency_ms) / 1000 AS batches_s,
       sum(1 / p.responses_per_s) AS scoring_s
FROM scores s
JOIN past p ON p.run_id = s.run_id
WHERE s.latency_ms IS NOT NULL
GROUP BY s.item_id, s.trait
ORDER BY s.item_id, s.trait
