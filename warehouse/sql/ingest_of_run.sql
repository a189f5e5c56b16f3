-- What an export brought that this run has ingested already, before it was killed and taken up.
SELECT received, accepted, rejected, duplicate, rated
FROM exports
WHERE export_sha256 = $export_sha256 AND run_id = $run_id AND file = $file
