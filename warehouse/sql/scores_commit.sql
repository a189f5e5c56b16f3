-- Parts become visible. What this run has already committed is left out, so a commit that is
-- repeated adds nothing.
INSERT INTO scores
SELECT $run_id,
       q.shard,
       p.response_id,
       p.item_id,
       p.trait,
       'scored',
       NULL,
       p.raw_score,
       p.score,
       p.confidence,
       p.probabilities,
       p.truncated,
       p.adapter_version,
       p.adapter_sha256,
       p.backbone_sha256,
       p.latency_ms,
       $now
FROM parts p
JOIN plan q ON q.response_id = p.response_id AND q.trait = p.trait
WHERE NOT EXISTS (
    SELECT 1
    FROM scores s
    WHERE s.run_id = $run_id AND s.response_id = p.response_id AND s.trait = p.trait
)
