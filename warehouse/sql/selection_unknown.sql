-- What a selection names and the warehouse has never heard of: items that no bank has, seasons that no
-- response is of.
SELECT 'item' AS kind, named AS name
FROM (SELECT unnest(CAST($items AS VARCHAR[])) AS named)
WHERE named NOT IN (SELECT item_id FROM items)
UNION ALL
SELECT 'season', named
FROM (SELECT unnest(CAST($seasons AS VARCHAR[])) AS named)
WHERE named NOT IN (SELECT season FROM responses)
ORDER BY ALL
