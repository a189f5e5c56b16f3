-- A set of limits that is used for the first time.
INSERT INTO threshold_versions
SELECT $sha256, $content, $now
WHERE NOT EXISTS (SELECT 1 FROM threshold_versions WHERE sha256 = $sha256)
