-- Rows that have been removed of a student, by table.
SELECT table_name, sum(n)::BIGINT AS n
FROM erased_rows
WHERE pseudo_sha256 = $pseudo_sha256
GROUP BY table_name
ORDER BY table_name
