-- Responses that a run has given a condition code, and whether they are blank.
SELECT count(*) AS coded, count(*) FILTER (r.characters > 0) AS not_blank
FROM scores s
JOIN responses r ON r.response_id = s.response_id
WHERE s.run_id = $run_id AND s.status = 'coded'
