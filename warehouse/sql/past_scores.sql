-- Every response and trait that had an outcome or a human score before $until, as it stood: what was
-- released, what was scored last, what people had given, and which of these counted.
CREATE OR REPLACE TEMP TABLE past AS
WITH decided AS (
    SELECT run_id, decision
    FROM release_decisions
    WHERE decided_at < $until
    QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY decided_at DESC) = 1
),
asked AS (
    SELECT response_id, item_id, season, purpose
    FROM responses
    WHERE ($items IS NULL OR list_contains(CAST($items AS VARCHAR[]), item_id))
      AND ($seasons IS NULL OR list_contains(CAST($seasons AS VARCHAR[]), season))
      AND ($responses IS NULL OR list_contains(CAST($responses AS VARCHAR[]), response_id))
),
known AS (
    SELECT s.response_id, s.trait, s.run_id, s.score, s.raw_score, s.condition_code,
           s.adapter_version, s.adapter_sha256, s.scored_at,
           coalesce(d.decision = 'released', false) AS released
    FROM scores s
    LEFT JOIN decided d ON d.run_id = s.run_id
    WHERE s.scored_at < $until AND s.response_id IN (SELECT response_id FROM asked)
),
latest AS (
    SELECT * FROM known
    QUALIFY row_number() OVER (
        PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
    ) = 1
),
out AS (
    SELECT * FROM known WHERE released
    QUALIFY row_number() OVER (
        PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
    ) = 1
),
human AS (
    SELECT h.response_id, h.trait, avg(h.human_score) AS score, count(*) AS raters
    FROM human_scores h
    JOIN asked a ON a.response_id = h.response_id AND a.purpose = 'operational'
    WHERE h.recorded_at < $until
    GROUP BY h.response_id, h.trait
),
named AS (
    SELECT response_id, trait FROM latest
    UNION
    SELECT response_id, trait FROM human
)
SELECT n.response_id,
       a.item_id,
       n.trait,
       a.season,
       CASE WHEN h.response_id IS NULL THEN o.score ELSE h.score END::DOUBLE AS final_score,
       CASE WHEN h.response_id IS NOT NULL THEN 'human'
            WHEN o.response_id IS NOT NULL THEN 'machine' END AS source,
       h.score AS human_score,
       h.raters,
       o.score AS released_score,
       o.condition_code AS released_code,
       o.raw_score AS released_raw_score,
       o.run_id AS released_run,
       o.adapter_version AS released_adapter,
       o.adapter_sha256 AS released_adapter_sha256,
       l.score AS current_score,
       l.condition_code AS current_code,
       l.raw_score AS current_raw_score,
       l.run_id AS current_run,
       l.adapter_version AS current_adapter,
       l.adapter_sha256 AS current_adapter_sha256
FROM named n
JOIN asked a ON a.response_id = n.response_id
LEFT JOIN human h ON h.response_id = n.response_id AND h.trait = n.trait
LEFT JOIN out o ON o.response_id = n.response_id AND o.trait = n.trait
LEFT JOIN latest l ON l.response_id = n.response_id AND l.trait = n.trait
