-- How many rows had which outcome.
SELECT outcome, count(*) AS n FROM outcomes GROUP BY outcome ORDER BY n DESC, outcome
