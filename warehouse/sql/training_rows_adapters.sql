-- The adapters of which it is known which responses they have seen.
SELECT DISTINCT adapter_sha256
FROM training_rows
