-- The responses of one student, who is named by the hash of the pseudonym.
SELECT response_id, item_id, season, export_sha256, text_sha256
FROM responses
WHERE sha256(student_pseudo) = $pseudo_sha256
ORDER BY response_id
