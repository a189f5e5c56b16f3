-- What a season holds: responses that can be retired, and those of them without any outcome.
SELECT count(*) AS responses,
       count(*) FILTER (
           r.purpose = 'operational'
           AND NOT EXISTS (SELECT 1 FROM scores s WHERE s.response_id = r.response_id)
           AND NOT EXISTS (SELECT 1 FROM human_scores h WHERE h.response_id = r.response_id)
       ) AS without_outcome
FROM responses r
WHERE r.season = $season AND r.retired_at IS NULL
