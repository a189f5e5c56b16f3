-- The first warehouse: items, exports, responses, human scores, runs and the ledger of scores.

CREATE TABLE items (
    item_id           VARCHAR NOT NULL,
    trait             VARCHAR NOT NULL,
    score_min         INTEGER NOT NULL,
    score_max         INTEGER NOT NULL CHECK (score_max > score_min),
    prompt            VARCHAR,
    rubric            VARCHAR,
    reference_answers VARCHAR[],
    added_at          TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (item_id, trait)
);

-- One row per flow run. Counts are rows, each in exactly one place:
-- received = accepted + rejected + duplicate + rated, and in a run that scores
-- accepted + waiting = scored + coded + routed + failed.
CREATE TABLE runs (
    run_id              VARCHAR PRIMARY KEY,
    kind                VARCHAR NOT NULL,  -- ingest, train, nightly, backfill, evaluate
    status              VARCHAR NOT NULL,  -- running, done, held, refused, failed
    administration_date DATE NOT NULL,
    started_at          TIMESTAMPTZ NOT NULL,
    finished_at         TIMESTAMPTZ,
    received            BIGINT NOT NULL DEFAULT 0,  -- rows in the exports this run ingested
    accepted            BIGINT NOT NULL DEFAULT 0,  -- rows that brought a new response
    waiting             BIGINT NOT NULL DEFAULT 0,  -- responses ingested earlier that this run planned
    scored              BIGINT NOT NULL DEFAULT 0,  -- responses that got a score for every trait
    coded               BIGINT NOT NULL DEFAULT 0,  -- responses given a condition code (B, blank)
    routed              BIGINT NOT NULL DEFAULT 0,  -- responses left to people: no adapter for the item
    failed              BIGINT NOT NULL DEFAULT 0,  -- responses whose scoring failed; planned again next run
    rejected            BIGINT NOT NULL DEFAULT 0,  -- rows refused, kept in rejects
    duplicate           BIGINT NOT NULL DEFAULT 0,  -- rows that repeat what is already here, kept in rejects
    rated               BIGINT NOT NULL DEFAULT 0,  -- rows that brought a human score for a known response
    files_accepted      INTEGER NOT NULL DEFAULT 0,
    files_refused       INTEGER NOT NULL DEFAULT 0,
    files_unchanged     INTEGER NOT NULL DEFAULT 0,  -- the same bytes were ingested before
    adapters_loaded     INTEGER NOT NULL DEFAULT 0,
    peak_rss_mb         DOUBLE,
    responses_per_s     DOUBLE,
    mlflow_run_id       VARCHAR,
    parameters          JSON NOT NULL,
    message             VARCHAR NOT NULL DEFAULT ''
);

-- Every export that was accepted, by the hash of its bytes.
CREATE TABLE exports (
    export_sha256 VARCHAR PRIMARY KEY,
    run_id        VARCHAR NOT NULL,
    file          VARCHAR NOT NULL,      -- the file's name, without its folders
    mapping       JSON NOT NULL,         -- canonical column -> column of the export
    received      BIGINT NOT NULL,
    accepted      BIGINT NOT NULL,       -- rows that brought a new response
    rejected      BIGINT NOT NULL,
    duplicate     BIGINT NOT NULL,
    rated         BIGINT NOT NULL,
    ingested_at   TIMESTAMPTZ NOT NULL,
    CHECK (received = accepted + rejected + duplicate + rated)
);

-- One row per response. The text itself is in responses/season=<season>/<first 12 of export_sha256>.parquet.
CREATE TABLE responses (
    response_id    VARCHAR NOT NULL,     -- unique; kept so by the ingest transaction's anti-join
    item_id        VARCHAR NOT NULL,
    season         VARCHAR NOT NULL,
    student_pseudo VARCHAR,              -- HMAC-SHA256 of the student id, hex
    submitted_at   TIMESTAMPTZ,
    text_sha256    VARCHAR NOT NULL,
    characters     INTEGER NOT NULL,     -- after trimming white space; 0 is a blank response
    export_sha256  VARCHAR NOT NULL,
    ingested_at    TIMESTAMPTZ NOT NULL
);

-- What people gave. rater is 1 or 2.
CREATE TABLE human_scores (
    response_id   VARCHAR NOT NULL,
    item_id       VARCHAR NOT NULL,
    trait         VARCHAR NOT NULL,
    rater         TINYINT NOT NULL CHECK (rater IN (1, 2)),
    human_score   DOUBLE NOT NULL,
    export_sha256 VARCHAR NOT NULL,
    recorded_at   TIMESTAMPTZ NOT NULL
);

-- Which responses an adapter has seen. Agreement is never computed on them.
CREATE TABLE training_rows (
    adapter_sha256 VARCHAR NOT NULL,
    response_id    VARCHAR NOT NULL,
    trait          VARCHAR NOT NULL,
    part           VARCHAR NOT NULL CHECK (part IN ('training', 'validation'))
);

-- Every refused row. No text and no student id: the row number leads back to the export.
CREATE TABLE rejects (
    run_id        VARCHAR NOT NULL,
    export_sha256 VARCHAR NOT NULL,
    file          VARCHAR NOT NULL,
    row           BIGINT NOT NULL,       -- 1 is the first row after the header
    reason        VARCHAR NOT NULL,      -- a code, see tasks/reasons.py
    detail        VARCHAR NOT NULL,      -- what was found and what to do, without text or student id
    response_id   VARCHAR,
    item_id       VARCHAR,
    rejected_at   TIMESTAMPTZ NOT NULL
);

-- The ledger: only ever appended to. A failure is a status in the run, never a row with a made-up score.
CREATE TABLE scores (
    run_id          VARCHAR NOT NULL,
    shard           VARCHAR NOT NULL,
    response_id     VARCHAR NOT NULL,
    item_id         VARCHAR NOT NULL,
    trait           VARCHAR NOT NULL,
    status          VARCHAR NOT NULL CHECK (status IN ('scored', 'coded')),
    condition_code  VARCHAR,             -- B: blank
    raw_score       DOUBLE,
    score           INTEGER,
    confidence      DOUBLE,
    probabilities   FLOAT[],             -- one per score point, from score_min to score_max
    truncated       BOOLEAN,             -- the text was longer than the model reads
    adapter_version INTEGER,             -- the version in the model registry; none for a coded row
    adapter_sha256  VARCHAR,
    backbone_sha256 VARCHAR,
    latency_ms      DOUBLE,              -- this response's share of its batch, by tokens
    scored_at       TIMESTAMPTZ NOT NULL,
    CHECK ((status = 'scored') = (raw_score IS NOT NULL AND score IS NOT NULL)),
    CHECK ((status = 'scored') = (adapter_version IS NOT NULL AND adapter_sha256 IS NOT NULL)),
    CHECK ((status = 'coded') = (condition_code IS NOT NULL))
);

-- The latest outcome of every response and trait. Coded rows have no score.
CREATE VIEW current_scores AS
SELECT response_id, item_id, trait, raw_score, score, confidence, adapter_version, run_id, scored_at,
       status, condition_code, adapter_sha256
FROM scores
QUALIFY row_number() OVER (
    PARTITION BY response_id, trait ORDER BY scored_at DESC, adapter_version DESC, run_id DESC
) = 1;
