-- Adapters that have seen responses of a student, and how many.
SELECT t.adapter_sha256, t.trait, any_value(r.item_id) AS item_id,
       count(*) FILTER (t.part = 'training') AS training,
       count(*) FILTER (t.part = 'validation') AS validation
FROM training_rows t
JOIN responses r ON r.response_id = t.response_id
WHERE sha256(r.student_pseudo) = $pseudo_sha256
GROUP BY t.adapter_sha256, t.trait
ORDER BY item_id, t.trait, t.adapter_sha256
