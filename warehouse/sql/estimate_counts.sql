-- What a run would do, by item and trait (to_score: the planned rows, registered by the caller).
SELECT item_id,
       trait,
       coalesce(list(DISTINCT adapter_version ORDER BY adapter_version)
           FILTER (WHERE adapter_version IS NOT NULL), []) AS versions,
       count(*) FILTER (WHERE NOT blank AND adapter_sha256 IS NOT NULL AND reused_from IS NULL)
           AS computed,
       count(*) FILTER (WHERE reused_from IS NOT NULL) AS copied,
       count(*) FILTER (WHERE blank) AS coded,
       count(*) FILTER (WHERE NOT blank AND adapter_sha256 IS NULL) AS routed
FROM to_score
GROUP BY item_id, trait
ORDER BY item_id, trait
