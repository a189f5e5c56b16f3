-- What the rules said of a run.
SELECT item_id, trait, rule, subject, status,
       coalesce(value, 'nan'::DOUBLE) AS value,
       coalesce(low, 'nan'::DOUBLE) AS low,
       coalesce(high, 'nan'::DOUBLE) AS high,
       coalesce(limit_value, 'nan'::DOUBLE) AS "limit",
       n
FROM gate_results
WHERE run_id = $run_id
ORDER BY item_id, trait, rule, subject
