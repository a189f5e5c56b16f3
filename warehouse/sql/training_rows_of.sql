-- The responses that an adapter was fitted to; its validation part is not among them.
SELECT response_id
FROM training_rows
WHERE adapter_sha256 = $adapter_sha256 AND part = 'training'
