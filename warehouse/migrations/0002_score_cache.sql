-- Scores that need not be computed again: what computed a score, and where a copied one comes from.

-- Precision, program version and token limit that a score was computed with. Together with text,
-- item, trait, adapter and backbone it decides the score. Rows from before this migration have none,
-- and are never copied.
ALTER TABLE scores ADD COLUMN engine VARCHAR;

-- The run that computed the score; null where that is this row's own run.
ALTER TABLE scores ADD COLUMN reused_from VARCHAR;

-- How many of the scored responses had all their scores from earlier runs.
ALTER TABLE runs ADD COLUMN reused BIGINT NOT NULL DEFAULT 0;

-- The latest outcome of every response and trait. Coded rows have no score.
CREATE OR REPLACE VIEW current_scores AS
SELECT response_id, item_id, trait, raw_score, score, confidence, adapter_version, run_id, scored_at,
       status, condition_code, adapter_sha256, engine, reused_from
FROM scores
QUALIFY row_number() OVER (
    PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
) = 1;
