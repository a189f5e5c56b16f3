-- What the rules say (judged: registered by the caller). What is not defined is null, not NaN, which
-- would compare as larger than any number.
INSERT INTO gate_results
SELECT $run_id, item_id, trait, rule, subject, status,
       CASE WHEN NOT isnan(value) THEN value END,
       CASE WHEN NOT isnan(low) THEN low END,
       CASE WHEN NOT isnan(high) THEN high END,
       CASE WHEN NOT isnan("limit") THEN "limit" END,
       n
FROM judged
