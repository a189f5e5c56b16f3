-- The responses that are to be removed.
CREATE OR REPLACE TEMP TABLE gone AS
SELECT response_id FROM responses WHERE sha256(student_pseudo) = $pseudo_sha256
