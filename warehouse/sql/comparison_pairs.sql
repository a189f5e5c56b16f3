-- Every score of a run beside the score that stood there before it: the released one, where there is
-- one of the runs $released, else the latest before it of the runs $others (null: of any other run).
-- Kept as a temporary table, which is read several times.
CREATE OR REPLACE TEMP TABLE compared AS
WITH new AS (
    SELECT response_id, trait, item_id, score, raw_score, adapter_version, adapter_sha256, engine,
           scored_at
    FROM scores
    WHERE run_id = $run_id AND status = 'scored'
),
released AS (SELECT unnest(CAST($released AS VARCHAR[])) AS run_id),
others AS (SELECT unnest(CAST($others AS VARCHAR[])) AS run_id),
old AS (
    SELECT s.response_id, s.trait, s.run_id, s.score, s.raw_score, s.adapter_version,
           s.adapter_sha256, s.engine, s.scored_at > new.scored_at AS later,
           s.run_id IN (FROM released) AS released
    FROM scores s
    JOIN new ON new.response_id = s.response_id AND new.trait = s.trait
    WHERE s.run_id <> $run_id
      AND (
          s.run_id IN (FROM released)
          OR (
              s.scored_at <= new.scored_at
              AND ($others IS NULL OR s.run_id IN (FROM others))
          )
      )
    QUALIFY row_number() OVER (
        PARTITION BY s.response_id, s.trait
        ORDER BY s.run_id IN (FROM released) DESC, s.scored_at DESC, s.adapter_version DESC,
                 s.run_id DESC
    ) = 1
)
SELECT new.response_id,
       new.item_id,
       new.trait,
       CASE WHEN old.response_id IS NULL THEN 'nothing'
            WHEN NOT old.released THEN 'unreleased'
            WHEN old.later THEN 'later'
            ELSE 'released' END AS replaces,
       old.run_id AS old_run_id,
       old.adapter_version AS old_version,
       old.adapter_sha256 AS old_adapter_sha256,
       old.engine AS old_engine,
       old.score AS old_score,
       old.raw_score AS old_raw_score,
       new.adapter_version AS new_version,
       new.adapter_sha256 AS new_adapter_sha256,
       new.engine AS new_engine,
       new.score AS new_score,
       new.raw_score AS new_raw_score,
       CASE WHEN NOT EXISTS (
           SELECT 1 FROM training_rows t
           WHERE t.response_id = new.response_id AND t.trait = new.trait
             AND t.adapter_sha256 IN (old.adapter_sha256, new.adapter_sha256)
       ) THEN h.human_score END AS human_score
FROM new
LEFT JOIN old ON old.response_id = new.response_id AND old.trait = new.trait
LEFT JOIN human_scores h
    ON h.response_id = new.response_id AND h.trait = new.trait AND h.rater = 1
