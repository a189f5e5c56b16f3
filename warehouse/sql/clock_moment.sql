-- The time to write down: $now, or just after the latest that is there.
SELECT greatest(
    $now::TIMESTAMPTZ,
    (SELECT max(greatest(started_at, finished_at)) + INTERVAL 1 MICROSECOND FROM runs),
    (SELECT max(scored_at) + INTERVAL 1 MICROSECOND FROM scores)
) AS moment
