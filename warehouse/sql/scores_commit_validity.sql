-- Tonight's scores of validity responses, kept apart from what is reported. What this run has
-- already committed is left out.
INSERT INTO validity_scores
SELECT $run_id,
       p.response_id,
       p.item_id,
       p.trait,
       p.raw_score,
       p.score,
       p.confidence,
       p.adapter_version,
       p.adapter_sha256,
       p.engine,
       $now
FROM parts p
JOIN plan q ON q.response_id = p.response_id AND q.trait = p.trait AND q.purpose = 'validity'
WHERE NOT EXISTS (
    SELECT 1
    FROM validity_scores v
    WHERE v.run_id = $run_id AND v.response_id = p.response_id AND v.trait = p.trait
)
