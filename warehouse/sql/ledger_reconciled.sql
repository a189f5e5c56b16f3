-- Runs whose rows are not as many as their counts say: the rows there are and those erased.
WITH there AS (
    SELECT e.run_id, 'responses' AS table_name, count(*) AS n
    FROM responses r
    JOIN exports e ON e.export_sha256 = r.export_sha256
    GROUP BY e.run_id
    UNION ALL
    SELECT run_id, 'rejects', count(*) FROM rejects GROUP BY run_id
    UNION ALL
    SELECT run_id, table_name, sum(n)::BIGINT FROM erased_rows WHERE table_name = 'responses'
    GROUP BY run_id, table_name
),
counted AS (
    SELECT run_id, 'responses' AS table_name, sum(accepted) AS n FROM exports GROUP BY run_id
    UNION ALL
    SELECT run_id, 'rejects', sum(rejected + duplicate) FROM exports GROUP BY run_id
)
SELECT c.run_id, c.table_name, c.n::BIGINT AS counted, coalesce(sum(t.n), 0)::BIGINT AS found
FROM counted c
LEFT JOIN there t ON t.run_id = c.run_id AND t.table_name = c.table_name
GROUP BY c.run_id, c.table_name, c.n
HAVING coalesce(sum(t.n), 0) <> c.n
ORDER BY c.run_id, c.table_name
