-- Whether these bytes have been ingested before, and what the responses that they brought are there
-- for; null where they brought none.
SELECT DISTINCT r.purpose
FROM exports e
LEFT JOIN responses r ON r.export_sha256 = e.export_sha256
WHERE e.export_sha256 = $export_sha256
