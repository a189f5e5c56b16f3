-- What evaluation, the release gate and drift rest on: subgroups, validity responses, which score is
-- reported, what was measured about a text, and who decided what about a run.

-- Which score of an item is reported: 'rounded' (the trimmed raw score, rounded) or 'scaled' (the
-- trimmed raw score brought to the human mean and spread of the training rows, then rounded).
ALTER TABLE items ADD COLUMN reported VARCHAR DEFAULT 'rounded';

-- Score points that decide something, ascending: a score at or above one has crossed it.
ALTER TABLE items ADD COLUMN cut_scores INTEGER[] DEFAULT [];

-- 'operational', or 'validity': a response whose score is known, scored anew every night to see
-- that it still comes out. A validity response is never in scores, so no score of one is reported.
ALTER TABLE responses ADD COLUMN purpose VARCHAR DEFAULT 'operational';

-- Groups that a response's student belongs to, such as a first language. One level per attribute.
CREATE TABLE subgroups (
    response_id   VARCHAR NOT NULL,
    attribute     VARCHAR NOT NULL,
    level         VARCHAR NOT NULL,
    export_sha256 VARCHAR NOT NULL
);

-- raw_score between the ends of the scale, less 0.4998 below and more above, so that it rounds to a
-- score point. Deducted here for the rows that are there; all of them report the rounded score.
ALTER TABLE scores ADD COLUMN trimmed_score DOUBLE;
ALTER TABLE scores ADD COLUMN scaled_score DOUBLE;    -- null where the adapter has no scaling
ALTER TABLE scores ADD COLUMN reported VARCHAR;       -- rounded or scaled: what score is
ALTER TABLE scores ADD COLUMN tokens INTEGER;         -- that the model read
ALTER TABLE scores ADD COLUMN unknown_tokens INTEGER; -- those that its vocabulary does not hold
ALTER TABLE scores ADD COLUMN language VARCHAR;       -- ISO code; null where it cannot be told

UPDATE scores
SET trimmed_score = least(greatest(scores.raw_score, i.score_min - 0.4998), i.score_max + 0.4998),
    reported = 'rounded'
FROM items i
WHERE i.item_id = scores.item_id AND i.trait = scores.trait AND scores.status = 'scored';

-- Tonight's scores of validity responses; only ever appended to.
CREATE TABLE validity_scores (
    run_id          VARCHAR NOT NULL,
    response_id     VARCHAR NOT NULL,
    item_id         VARCHAR NOT NULL,
    trait           VARCHAR NOT NULL,
    raw_score       DOUBLE NOT NULL,
    score           INTEGER NOT NULL,
    confidence      DOUBLE NOT NULL,
    adapter_version INTEGER NOT NULL,
    adapter_sha256  VARCHAR NOT NULL,
    engine          VARCHAR NOT NULL,
    scored_at       TIMESTAMPTZ NOT NULL
);

-- A nightly run or a backfill that is done has the status 'released' or 'held' once it is decided.
-- Why a run was held already when its scores were committed, before anything was judged: a list of
-- sentences. Null in runs from before this migration.
ALTER TABLE runs ADD COLUMN held_reasons JSON;

-- The limits that the run was judged by; see threshold_versions. Null: it was not judged.
ALTER TABLE runs ADD COLUMN thresholds_sha256 VARCHAR;

-- Every set of limits that a run was judged by, whole.
CREATE TABLE threshold_versions (
    sha256        VARCHAR PRIMARY KEY,
    content       JSON NOT NULL,
    first_used_at TIMESTAMPTZ NOT NULL
);

-- What each rule said of each item and trait; the last judgement of each run.
CREATE TABLE gate_results (
    run_id      VARCHAR NOT NULL,
    item_id     VARCHAR NOT NULL,  -- empty, like trait, where the rule is about the run as a whole
    trait       VARCHAR NOT NULL,
    rule        VARCHAR NOT NULL,
    subject     VARCHAR NOT NULL,  -- a subgroup's level, a score point; empty for the whole item
    status      VARCHAR NOT NULL CHECK (status IN ('PASS', 'FLAG', 'FAIL', 'INSUFFICIENT_N')),
    value       DOUBLE,            -- null where it is not defined
    low         DOUBLE,            -- its 95% interval
    high        DOUBLE,
    limit_value DOUBLE,
    n           BIGINT NOT NULL    -- responses it rests on
);

-- Every decision about a run; the last one counts. Only ever appended to.
CREATE TABLE release_decisions (
    run_id     VARCHAR NOT NULL,
    decision   VARCHAR NOT NULL CHECK (decision IN ('released', 'held')),
    decided_by VARCHAR NOT NULL,   -- a person's name, or 'gate'
    reason     VARCHAR NOT NULL,
    decided_at TIMESTAMPTZ NOT NULL
);

CREATE VIEW latest_decisions AS
SELECT run_id, decision, decided_by, reason, decided_at
FROM release_decisions
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY decided_at DESC) = 1;

-- The latest outcome of every response and trait. Coded rows have no score.
CREATE OR REPLACE VIEW current_scores AS
SELECT response_id, item_id, trait, raw_score, score, confidence, adapter_version, run_id, scored_at,
       status, condition_code, adapter_sha256, engine, reused_from, reported, trimmed_score,
       scaled_score
FROM scores
QUALIFY row_number() OVER (
    PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
) = 1;

-- What may leave the house: the latest outcome of every response and trait among the runs that are
-- released. A score of a held run takes nothing away from an earlier, released one.
CREATE VIEW released_scores AS
SELECT response_id, item_id, trait, raw_score, score, confidence, adapter_version, run_id, scored_at,
       status, condition_code, adapter_sha256, engine, reused_from, reported, trimmed_score,
       scaled_score
FROM scores
WHERE run_id IN (SELECT run_id FROM latest_decisions WHERE decision = 'released')
QUALIFY row_number() OVER (
    PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
) = 1;
