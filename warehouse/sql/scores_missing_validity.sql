-- How many planned scores of validity responses a run has not brought.
SELECT count(*) AS missing
FROM plan q
WHERE q.purpose = 'validity'
  AND NOT EXISTS (
      SELECT 1
      FROM validity_scores v
      WHERE v.run_id = $run_id AND v.response_id = q.response_id AND v.trait = q.trait
  )
