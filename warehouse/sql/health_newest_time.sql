-- The newest time that anything was written: a clock behind it has been set back.
SELECT greatest(
    (SELECT max(greatest(started_at, coalesce(finished_at, started_at))) FROM runs),
    (SELECT max(scored_at) FROM scores)
) AS newest
