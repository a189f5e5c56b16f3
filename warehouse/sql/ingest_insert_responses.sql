-- The responses that an export brings.
INSERT INTO responses (
    response_id, item_id, season, student_pseudo, submitted_at, text_sha256, characters,
    export_sha256, ingested_at, purpose
)
SELECT s.response_id, s.item_id, s.season, s.student_pseudo, s.submitted_at, s.text_sha256,
       s.characters, $export_sha256, $now, $purpose
FROM staged s
JOIN outcomes o ON o.row = s.row
WHERE o.outcome = 'accepted'
