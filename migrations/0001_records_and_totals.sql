-- One row per task. Times are Unix time in microseconds; NULL means not known or not yet.
CREATE TABLE task (
    id              TEXT   NOT NULL PRIMARY KEY,
    grp             TEXT   NOT NULL,
    registered      BIGINT NOT NULL,
    narrowed        BIGINT NOT NULL,
    state           TEXT   NOT NULL,
    started         BIGINT,
    first_seen      BIGINT,
    last_unfinished BIGINT,
    ended           BIGINT,
    finished        TEXT,
    settled         BIGINT,
    outcome         TEXT,
    not_found_since BIGINT,
    unlisted_since  BIGINT,
    dropped         BIGINT,
    drop_reason     TEXT,
    -- When it left the gauges; such a row is only remembered, so that nothing is counted twice.
    departed        BIGINT,
    -- A JSON list of its files.
    files           TEXT   NOT NULL
);
CREATE INDEX task_departed ON task (departed);

-- What has been counted, and since when. Families are named as on /metrics.
CREATE TABLE counter (
    family  TEXT   NOT NULL,
    grp     TEXT   NOT NULL,
    value   TEXT   NOT NULL,
    total   BIGINT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (family, grp, value)
);

CREATE TABLE histogram (
    family     TEXT   NOT NULL,
    grp        TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    -- The upper bounds of its buckets in seconds; with others configured it begins anew.
    bounds     TEXT   NOT NULL,
    sum_micros BIGINT NOT NULL,
    created    BIGINT NOT NULL,
    PRIMARY KEY (family, grp, state)
);

-- Observations in each bucket alone, not cumulative; a bucket without any has no row.
CREATE TABLE histogram_bucket (
    family TEXT   NOT NULL,
    grp    TEXT   NOT NULL,
    state  TEXT   NOT NULL,
    le     TEXT   NOT NULL,
    total  BIGINT NOT NULL,
    PRIMARY KEY (family, grp, state, le)
);

CREATE TABLE last_failure (
    grp        TEXT   NOT NULL,
    error_code TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (grp, error_code)
);
