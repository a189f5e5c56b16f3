-- The last erasure of a student, finished or not.
SELECT begun_at, finished_at, erased_by, CAST(counts AS VARCHAR) AS counts
FROM erasures
WHERE pseudo_sha256 = $pseudo_sha256
ORDER BY begun_at DESC
LIMIT 1
