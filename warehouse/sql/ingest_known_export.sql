-- Whether these bytes have been ingested before.
SELECT 1 AS known FROM exports WHERE export_sha256 = $export_sha256
