-- What an earlier run has computed is copied, value by value, and says which run that was. Nobody
-- waited for it tonight, so it has no latency.
INSERT INTO scores (
    run_id, shard, response_id, item_id, trait, status, raw_score, score, confidence, probabilities,
    by_student, truncated, trimmed_score, scaled_score, reported, tokens, unknown_tokens, language,
    adapter_version, adapter_sha256, backbone_sha256, engine, reused_from, scored_at
)
SELECT $run_id,
       '',
       q.response_id,
       q.item_id,
       q.trait,
       'scored',
       d.raw_score,
       d.score,
       d.confidence,
       d.probabilities,
       d.by_student,
       d.truncated,
       d.trimmed_score,
       d.scaled_score,
       d.reported,
       d.tokens,
       d.unknown_tokens,
       d.language,
       q.adapter_version,
       d.adapter_sha256,
       d.backbone_sha256,
       d.engine,
       d.run_id,
       $now
FROM plan q
JOIN scores d
    ON d.run_id = q.reused_from AND d.response_id = q.reused_response_id AND d.trait = q.trait
WHERE NOT EXISTS (
    SELECT 1
    FROM scores s
    WHERE s.run_id = $run_id AND s.response_id = q.response_id AND s.trait = q.trait
)
