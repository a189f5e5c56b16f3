-- The past by item and trait (past: made by past_scores).
SELECT item_id, trait,
       count(*) AS responses,
       count(*) FILTER (released_run IS NOT NULL) AS released,
       count(*) FILTER (current_run IS NOT NULL AND released_run IS DISTINCT FROM current_run)
           AS held,
       count(*) FILTER (source = 'human') AS human,
       avg(final_score) AS mean_final,
       coalesce(
           list_sort(list(DISTINCT released_adapter) FILTER (released_adapter IS NOT NULL)), []
       ) AS adapters
FROM past
GROUP BY item_id, trait
ORDER BY item_id, trait
