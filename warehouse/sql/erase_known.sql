-- Hashes of the pseudonyms of all who were erased.
SELECT DISTINCT pseudo_sha256 FROM erasures ORDER BY pseudo_sha256
