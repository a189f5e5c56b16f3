-- What the exports of one run brought.
SELECT coalesce(sum(received), 0)::BIGINT AS received,
       coalesce(sum(accepted), 0)::BIGINT AS accepted,
       coalesce(sum(rejected), 0)::BIGINT AS rejected,
       coalesce(sum(duplicate), 0)::BIGINT AS duplicate,
       coalesce(sum(rated), 0)::BIGINT AS rated,
       count(*) AS files
FROM exports
WHERE run_id = $run_id
