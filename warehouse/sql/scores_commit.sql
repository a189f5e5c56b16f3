-- Parts become visible. What this run has already committed is left out, so a commit that is
-- repeated adds nothing.
INSERT INTO scores (
    run_id, shard, response_id, item_id, trait, status, raw_score, score, confidence, probabilities,
    by_student, truncated, trimmed_score, scaled_score, reported, tokens, unknown_tokens, language,
    adapter_version, adapter_sha256, backbone_sha256, engine, latency_ms, scored_at
)
SELECT $run_id,
       q.shard,
       p.response_id,
       p.item_id,
       p.trait,
       'scored',
       p.raw_score,
       p.score,
       p.confidence,
       p.probabilities,
       p.by_student,
       p.truncated,
       p.trimmed_score,
       p.scaled_score,
       p.reported,
       p.tokens,
       p.unknown_tokens,
       p.language,
       p.adapter_version,
       p.adapter_sha256,
       p.backbone_sha256,
       p.engine,
       p.latency_ms,
       $now
FROM parts p
JOIN plan q ON q.response_id = p.response_id AND q.trait = p.trait AND q.purpose = 'operational'
WHERE NOT EXISTS (
    SELECT 1
    FROM scores s
    WHERE s.run_id = $run_id AND s.response_id = p.response_id AND s.trait = p.trait
)
