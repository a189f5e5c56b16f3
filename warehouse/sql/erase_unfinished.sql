-- Students whose erasure has begun and not ended.
SELECT DISTINCT pseudo_sha256 FROM erasures WHERE finished_at IS NULL ORDER BY pseudo_sha256
