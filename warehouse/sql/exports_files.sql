-- The names of all ingested files.
SELECT DISTINCT file FROM exports ORDER BY file
