-- The table planned: every response and trait that a run has to score, with the adapter that is to
-- score it.
-- adapters: item_id, trait, adapter_version, adapter_sha256 (registered by the caller).
-- A nightly run (not $rescore) plans what has no outcome at all, and leaves out responses that
-- an adapter was trained on; a backfill ($rescore) also plans what another adapter, precision or
-- version of the program scored last, or what reports another of the scores.
-- With $as_then each response is for the adapter, of several of an item, whose released score of it
-- stands, or else its latest; what has no score is left out.
-- With $validity come the validity responses whose score is known, for every adapter there is.
CREATE OR REPLACE TEMP TABLE planned AS
WITH standing AS (
    SELECT c.response_id, c.trait, coalesce(s.adapter_sha256, c.adapter_sha256) AS adapter_sha256
    FROM current_scores c
    LEFT JOIN released_scores s ON s.response_id = c.response_id AND s.trait = c.trait
    WHERE $as_then
),
operational AS (
    SELECT r.response_id,
           r.item_id,
           i.trait,
           r.season,
           r.export_sha256,
           r.text_sha256,
           r.characters = 0 AS blank,
           r.purpose,
           e.run_id = $run_id AS received,
           i.score_min,
           i.score_max,
           i.reported,
           a.adapter_version,
           a.adapter_sha256
    FROM responses r
    JOIN items i ON i.item_id = r.item_id
    JOIN exports e ON e.export_sha256 = r.export_sha256
    LEFT JOIN standing t ON t.response_id = r.response_id AND t.trait = i.trait
    LEFT JOIN adapters a
        ON a.item_id = i.item_id AND a.trait = i.trait
        AND (NOT $as_then OR a.adapter_sha256 = t.adapter_sha256)
    LEFT JOIN current_scores c ON c.response_id = r.response_id AND c.trait = i.trait
    WHERE r.purpose = 'operational'
      AND r.retired_at IS NULL
      AND ($seasons IS NULL OR list_contains($seasons, r.season))
      AND ($items IS NULL OR list_contains($items, r.item_id))
      AND ($from_date IS NULL OR coalesce(r.submitted_at, r.ingested_at)::DATE >= $from_date)
      AND ($to_date IS NULL OR coalesce(r.submitted_at, r.ingested_at)::DATE <= $to_date)
      AND (
          (c.response_id IS NULL AND NOT $as_then)
          OR (
              $rescore
              AND c.status = 'scored'
              AND a.adapter_sha256 IS NOT NULL
              AND (
                  c.adapter_sha256 <> a.adapter_sha256
                  OR c.engine IS DISTINCT FROM $engine
                  OR coalesce(c.reported, 'rounded') <> i.reported
              )
          )
      )
      AND (
          $rescore
          OR e.run_id = $run_id
          OR NOT EXISTS (
              SELECT 1
              FROM training_rows t
              WHERE t.response_id = r.response_id AND t.trait = i.trait
          )
      )
),
validity AS (
    SELECT r.response_id,
           r.item_id,
           i.trait,
           r.season,
           r.export_sha256,
           r.text_sha256,
           false AS blank,
           r.purpose,
           false AS received,
           i.score_min,
           i.score_max,
           i.reported,
           a.adapter_version,
           a.adapter_sha256
    FROM responses r
    JOIN items i ON i.item_id = r.item_id
    JOIN adapters a ON a.item_id = i.item_id AND a.trait = i.trait
    JOIN human_scores h ON h.response_id = r.response_id AND h.trait = i.trait AND h.rater = 1
    WHERE $validity AND r.purpose = 'validity' AND r.characters > 0 AND r.retired_at IS NULL
)
FROM operational
UNION ALL
FROM validity
