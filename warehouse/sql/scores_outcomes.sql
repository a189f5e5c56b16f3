-- What became of each planned response, counted once: a response with several traits counts as
-- scored when every trait has its outcome, and under its worst trait otherwise. A scored response is
-- reused when none of its scores was computed in this run. Validity responses count nowhere.
WITH outcomes AS (
    SELECT p.response_id,
           bool_or(p.received) AS received,
           bool_or(NOT p.blank AND p.adapter_sha256 IS NULL) AS routed,
           bool_or(NOT p.blank AND p.adapter_sha256 IS NOT NULL AND s.response_id IS NULL) AS failed,
           bool_or(s.status = 'coded') AS coded,
           bool_and(s.reused_from IS NOT NULL) AS reused
    FROM plan p
    LEFT JOIN scores s
        ON s.run_id = $run_id AND s.response_id = p.response_id AND s.trait = p.trait
    WHERE p.purpose = 'operational'
    GROUP BY p.response_id
)
SELECT count(*) FILTER (WHERE NOT received) AS waiting,
       count(*) FILTER (WHERE failed) AS failed,
       count(*) FILTER (WHERE routed AND NOT failed) AS routed,
       count(*) FILTER (WHERE coded AND NOT failed AND NOT routed) AS coded,
       count(*) FILTER (WHERE NOT coded AND NOT failed AND NOT routed) AS scored,
       count(*) FILTER (WHERE NOT coded AND NOT failed AND NOT routed AND reused) AS reused
FROM outcomes
