-- What a backfill would replace, counted when it was judged and before anything of it went out: for
-- every score of the run, which score stood there before. Counts only: no response is named here.
CREATE TABLE comparison_counts (
    run_id      VARCHAR NOT NULL,
    item_id     VARCHAR NOT NULL,
    trait       VARCHAR NOT NULL,
    -- nothing: the response had no score. unreleased: it had one that was never released.
    -- released: a released score, which this one replaces once the run is released.
    -- later: a released score that is later than this one, and stays.
    replaces    VARCHAR NOT NULL CHECK (replaces IN ('nothing', 'unreleased', 'released', 'later')),
    old_version INTEGER,          -- of the adapter that gave the old score
    new_version INTEGER NOT NULL,
    old_score   INTEGER,          -- null where there was none, or a condition code
    new_score   INTEGER NOT NULL,
    human_score DOUBLE,           -- first rater; null where nobody has rated, or an adapter has seen it
    n           BIGINT NOT NULL
);

-- The runs whose scores these were, by which the comparison can be made again, score by score.
CREATE TABLE comparison_runs (
    run_id     VARCHAR NOT NULL,
    old_run_id VARCHAR NOT NULL,
    released   BOOLEAN NOT NULL,
    n          BIGINT NOT NULL
);
