-- The same for rows of which only the file tells that they were the student's (found: registered by
-- the caller).
UPDATE rejects SET response_id = NULL
WHERE (export_sha256, row) IN (SELECT (export_sha256, row) FROM found)
