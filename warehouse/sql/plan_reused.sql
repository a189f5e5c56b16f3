-- What has to be scored, each row beside the first score that a run has computed for the same text,
-- item, trait, adapter, backbone, engine and choice of the reported score; null where there is none.
-- planned: the table that plan_responses makes.
-- Condition codes have no adapter and are not found. Copied scores are left out: the run that
-- computed one is what a later copy has to name. A validity response is scored anew every night,
-- since a copy would hide just what it is there to show.
WITH wanted AS (
    SELECT DISTINCT text_sha256, item_id, trait, adapter_sha256, reported
    FROM planned
    WHERE purpose = 'operational'
),
same_text AS (
    SELECT r.response_id, w.*
    FROM wanted w
    JOIN responses r ON r.text_sha256 = w.text_sha256 AND r.item_id = w.item_id
),
computed AS (
    SELECT t.text_sha256,
           t.item_id,
           t.trait,
           t.adapter_sha256,
           min({
               'scored_at': s.scored_at, 'run_id': s.run_id, 'response_id': s.response_id
           }) AS first
    FROM same_text t
    JOIN scores s
        ON s.response_id = t.response_id
        AND s.trait = t.trait
        AND s.adapter_sha256 = t.adapter_sha256
        AND coalesce(s.reported, 'rounded') = t.reported
    WHERE s.engine = $engine
      AND s.backbone_sha256 = $backbone_sha256
      AND s.reused_from IS NULL
    GROUP BY t.text_sha256, t.item_id, t.trait, t.adapter_sha256
)
SELECT p.*, c.first.run_id AS reused_from, c.first.response_id AS reused_response_id
FROM planned p
LEFT JOIN computed c
    ON c.text_sha256 = p.text_sha256
    AND c.item_id = p.item_id
    AND c.trait = p.trait
    AND c.adapter_sha256 = p.adapter_sha256
    AND p.purpose = 'operational'
    AND NOT p.blank
ORDER BY p.item_id, p.trait, p.adapter_sha256, p.response_id
