-- Erasure, retention and backups; the score that counts where people have scored, too.

-- When the text and the pseudonym of a response were taken away, or began to be: such a response
-- is neither planned nor trained on any more. Null: both are there.
ALTER TABLE responses ADD COLUMN retired_at TIMESTAMPTZ;

-- Every erasure of a person, one row each time. The hash is of the pseudonym, which itself is an
-- HMAC of the student id and is kept nowhere: rows of the same student that come again are known by it.
CREATE TABLE erasures (
    pseudo_sha256 VARCHAR NOT NULL,
    erased_by     VARCHAR NOT NULL,
    reason        VARCHAR NOT NULL,
    begun_at      TIMESTAMPTZ NOT NULL,
    finished_at   TIMESTAMPTZ,            -- null: killed on the way; the same command goes on
    counts        JSON                    -- what was removed, by the name of where it was
);

-- Rows that must not come back even where an export names no student: hashes of response id and
-- text together, so that who has not got the text cannot try ids.
CREATE TABLE erased_responses (
    pseudo_sha256 VARCHAR NOT NULL,
    row_sha256    VARCHAR NOT NULL
);

-- How many rows of a run were erased. A run's own counts say what happened and stay; they are the
-- rows that are still there and these.
CREATE TABLE erased_rows (
    pseudo_sha256 VARCHAR NOT NULL,
    run_id        VARCHAR NOT NULL,
    table_name    VARCHAR NOT NULL,
    n             BIGINT NOT NULL
);

-- Seasons whose texts and pseudonyms were taken away.
CREATE TABLE retirements (
    season      VARCHAR NOT NULL,
    retired_by  VARCHAR NOT NULL,
    reason      VARCHAR NOT NULL,
    begun_at    TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    responses   BIGINT NOT NULL           -- how many were there to retire
);

-- Copies of this warehouse that were made. A copy does not know of itself.
CREATE TABLE backups (
    file     VARCHAR NOT NULL,
    sha256   VARCHAR NOT NULL,
    bytes    BIGINT NOT NULL,
    reason   VARCHAR NOT NULL,            -- asked, or the migration that it was taken before
    taken_at TIMESTAMPTZ NOT NULL
);

-- The score that counts: what people gave where they have given one, else what was released of the
-- machine's. Two raters' scores count as their mean; raters_apart says how far apart they are, for
-- those who want a third reading. Validity responses are never reported.
CREATE VIEW final_scores AS
WITH human AS (
    SELECT h.response_id, h.item_id, h.trait,
           avg(h.human_score) AS score,
           count(*) AS raters,
           max(h.human_score) - min(h.human_score) AS raters_apart,
           max(h.recorded_at) AS scored_at
    FROM human_scores h
    JOIN responses r ON r.response_id = h.response_id
    WHERE r.purpose = 'operational'
    GROUP BY h.response_id, h.item_id, h.trait
)
SELECT coalesce(h.response_id, m.response_id) AS response_id,
       coalesce(h.item_id, m.item_id) AS item_id,
       coalesce(h.trait, m.trait) AS trait,
       CASE WHEN h.response_id IS NULL THEN m.score ELSE h.score END AS score,
       CASE WHEN h.response_id IS NULL THEN 'machine' ELSE 'human' END AS source,
       CASE WHEN h.response_id IS NULL THEN m.condition_code END AS condition_code,
       h.raters,
       h.raters_apart,
       m.score AS machine_score,
       m.run_id,
       m.adapter_version,
       m.adapter_sha256,
       CASE WHEN h.response_id IS NULL THEN m.scored_at ELSE h.scored_at END AS scored_at
FROM human h
FULL JOIN released_scores m ON m.response_id = h.response_id AND m.trait = h.trait;
