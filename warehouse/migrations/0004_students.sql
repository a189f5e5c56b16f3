-- A distilled student gave the score, by itself or as the first of a cascade. False in rows from
-- before there were any.
ALTER TABLE scores ADD COLUMN by_student BOOLEAN;
UPDATE scores SET by_student = FALSE WHERE status = 'scored';

CREATE OR REPLACE VIEW current_scores AS
SELECT response_id, item_id, trait, raw_score, score, confidence, adapter_version, run_id, scored_at,
       status, condition_code, adapter_sha256, engine, reused_from, reported, trimmed_score,
       scaled_score, by_student
FROM scores
QUALIFY row_number() OVER (
    PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
) = 1;

CREATE OR REPLACE VIEW released_scores AS
SELECT response_id, item_id, trait, raw_score, score, confidence, adapter_version, run_id, scored_at,
       status, condition_code, adapter_sha256, engine, reused_from, reported, trimmed_score,
       scaled_score, by_student
FROM scores
WHERE run_id IN (SELECT run_id FROM latest_decisions WHERE decision = 'released')
QUALIFY row_number() OVER (
    PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
) = 1;
