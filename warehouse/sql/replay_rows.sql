-- What a run has scored, with what it takes to score it again. Validity responses are scored in the
-- same shards, and what is in a shard decides how it is packed.
SELECT s.response_id, s.item_id, s.trait, r.season, r.export_sha256, r.text_sha256,
       false AS blank,
       r.purpose,
       false AS received,
       i.score_min, i.score_max,
       coalesce(s.reported, 'rounded') AS reported,
       s.adapter_version, s.adapter_sha256,
       s.reused_from,
       CAST(NULL AS VARCHAR) AS reused_response_id,
       r.retired_at IS NOT NULL AS retired,
       s.engine, s.backbone_sha256,
       s.raw_score, s.score, s.confidence, s.probabilities, s.trimmed_score, s.scaled_score,
       s.truncated, s.tokens, s.unknown_tokens, s.language, s.by_student
FROM scores s
JOIN responses r ON r.response_id = s.response_id
JOIN items i ON i.item_id = s.item_id AND i.trait = s.trait
WHERE s.run_id = $run_id AND s.status = 'scored'
UNION ALL
SELECT v.response_id, v.item_id, v.trait, r.season, r.export_sha256, r.text_sha256,
       false, r.purpose, false, i.score_min, i.score_max, i.reported,
       v.adapter_version, v.adapter_sha256, NULL, NULL, r.retired_at IS NOT NULL,
       v.engine, NULL, v.raw_score, v.score, v.confidence, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL
FROM validity_scores v
JOIN responses r ON r.response_id = v.response_id
JOIN items i ON i.item_id = v.item_id AND i.trait = v.trait
WHERE v.run_id = $run_id
ORDER BY item_id, trait, adapter_sha256, response_id
