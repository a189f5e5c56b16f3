-- An erasure has ended.
UPDATE erasures SET finished_at = $now, counts = $counts
WHERE pseudo_sha256 = $pseudo_sha256 AND finished_at IS NULL
