-- What must not come back even without a student id. A blank response's hash would be that of its
-- id alone, and holds nothing of the student.
INSERT INTO erased_responses
SELECT DISTINCT $pseudo_sha256, sha256(r.response_id || chr(31) || r.text_sha256)
FROM responses r
WHERE sha256(r.student_pseudo) = $pseudo_sha256
  AND r.characters > 0
  AND sha256(r.response_id || chr(31) || r.text_sha256)
      NOT IN (SELECT row_sha256 FROM erased_responses)
