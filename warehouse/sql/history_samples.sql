-- What runs scored, in sums per item, trait and run. points and languages are maps from score point
-- and from language to the number of responses.
-- With $items_of come only the items and traits that this run has scored or coded, too; with
-- $latest_only a response counts in the run that scored it last.
WITH wanted AS (
    SELECT i.item_id, i.trait, i.score_min, i.score_max
    FROM items i
    WHERE ($items IS NULL OR list_contains(CAST($items AS VARCHAR[]), i.item_id))
      AND (
          $items_of IS NULL
          OR (i.item_id, i.trait) IN (SELECT item_id, trait FROM scores WHERE run_id = $items_of)
      )
),
chosen AS (
    SELECT s.run_id, s.item_id, s.trait, s.score, s.confidence, s.tokens, s.unknown_tokens, s.language
    FROM scores s
    WHERE s.run_id IN (SELECT unnest(CAST($runs AS VARCHAR[])))
      AND (
          $seasons IS NULL
          OR s.response_id IN (
              SELECT response_id FROM responses
              WHERE list_contains(CAST($seasons AS VARCHAR[]), season)
          )
      )
    QUALIFY NOT $latest_only OR row_number() OVER (
        PARTITION BY s.response_id, s.trait
        ORDER BY s.scored_at DESC, s.adapter_version DESC, s.run_id DESC
    ) = 1
),
by_point AS (
    SELECT run_id, item_id, trait, score,
           count(*) AS n,
           sum(confidence) AS confidence_sum,
           sum(confidence ** 2) AS confidence_squares,
           count(tokens) AS measured,
           sum(ln(greatest(tokens, 1))) AS length_sum,
           sum(ln(greatest(tokens, 1)) ** 2) AS length_squares,
           sum(unknown_tokens / greatest(tokens, 1)) AS unknown_sum,
           sum((unknown_tokens / greatest(tokens, 1)) ** 2) AS unknown_squares
    FROM chosen
    GROUP BY run_id, item_id, trait, score
),
by_language AS (
    SELECT run_id, item_id, trait, language, count(*) AS n
    FROM chosen
    WHERE language IS NOT NULL
    GROUP BY run_id, item_id, trait, language
),
languages AS (
    SELECT run_id, item_id, trait, map(list(language), list(n)) AS languages
    FROM by_language
    GROUP BY run_id, item_id, trait
),
sums AS (
    SELECT run_id, item_id, trait,
           map(list(score) FILTER (score IS NOT NULL), list(n) FILTER (score IS NOT NULL)) AS points,
           coalesce(sum(n) FILTER (score IS NOT NULL), 0)::BIGINT AS n,
           coalesce(sum(n) FILTER (score IS NULL), 0)::BIGINT AS coded,
           coalesce(sum(score * n), 0)::DOUBLE AS score_sum,
           coalesce(sum(score * score * n), 0)::DOUBLE AS score_squares,
           coalesce(sum(confidence_sum), 0) AS confidence_sum,
           coalesce(sum(confidence_squares), 0) AS confidence_squares,
           coalesce(sum(measured), 0)::BIGINT AS measured,
           coalesce(sum(length_sum), 0) AS length_sum,
           coalesce(sum(length_squares), 0) AS length_squares,
           coalesce(sum(unknown_sum), 0) AS unknown_sum,
           coalesce(sum(unknown_squares), 0) AS unknown_squares
    FROM by_point
    GROUP BY run_id, item_id, trait
)
SELECT sums.*, w.score_min, w.score_max, r.administration_date,
       coalesce(l.languages, MAP {}) AS languages
FROM sums
JOIN wanted w ON w.item_id = sums.item_id AND w.trait = sums.trait
JOIN runs r ON r.run_id = sums.run_id
LEFT JOIN languages l
    ON l.run_id = sums.run_id AND l.item_id = sums.item_id AND l.trait = sums.trait
ORDER BY sums.item_id, sums.trait, r.administration_date, r.started_at, sums.run_id
