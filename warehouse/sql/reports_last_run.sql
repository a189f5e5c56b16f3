-- The run that was started last, of one kind or ($kind is null) of any.
SELECT * FROM runs
WHERE $kind IS NULL OR kind = $kind
ORDER BY started_at DESC, run_id DESC
LIMIT 1
