-- While files are being cleared, nothing plans or trains on what is about to go.
UPDATE responses SET retired_at = $now
WHERE sha256(student_pseudo) = $pseudo_sha256 AND retired_at IS NULL
