-- The responses that an export brings.
INSERT INTO responses
SELECT s.response_id, s.item_id, s.season, s.student_pseudo, s.submitted_at, s.text_sha256,
       s.characters, $export_sha256, $now
FROM staged s
JOIN outcomes o ON o.row = s.row
WHERE o.outcome = 'accepted'
