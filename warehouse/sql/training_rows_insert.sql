-- Which responses an adapter has seen (seen: response_id, part; registered by the caller).
INSERT INTO training_rows (adapter_sha256, response_id, trait, part)
SELECT $adapter_sha256, s.response_id, $trait, s.part
FROM seen s
WHERE NOT EXISTS (
    SELECT 1
    FROM training_rows t
    WHERE t.adapter_sha256 = $adapter_sha256 AND t.response_id = s.response_id AND t.trait = $trait
)
