-- The rows that bring nothing, each with its reason in words. In a broken row a piece of text may
-- stand where the ids belong, so only what looks like an id is kept, and none of who was erased.
INSERT INTO rejects
WITH words AS (
    SELECT unnest($codes) AS reason, unnest($sentences) AS sentence
)
SELECT $run_id,
       $export_sha256,
       $file,
       o.row,
       o.outcome,
       words.sentence || CASE WHEN coalesce(o.found, '') = '' THEN '' ELSE ' (' || o.found || ')' END,
       CASE WHEN o.outcome <> 'erased' AND regexp_full_match(s.response_id, '\S{1,64}')
            THEN s.response_id END,
       CASE WHEN regexp_full_match(s.item_id, '\S{1,64}') THEN s.item_id END,
       $now
FROM outcomes o
JOIN staged s ON s.row = o.row
JOIN words ON words.reason = o.outcome
WHERE o.outcome NOT IN ('accepted', 'rated')
