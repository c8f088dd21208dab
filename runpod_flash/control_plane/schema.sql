-- The control plane's database. Each section leads from the version before it to its own; published sections never change.

-- version 1
CREATE TABLE endpoints (
    id          TEXT PRIMARY KEY,
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    body        TEXT NOT NULL,     -- JSON
    config_hash TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    created_at  REAL NOT NULL      -- seconds since the epoch, as all times here
) WITHOUT ROWID;

CREATE TABLE jobs (
    seq             INTEGER PRIMARY KEY,   -- order of arrival
    id              TEXT NOT NULL UNIQUE,
    endpoint        TEXT NOT NULL,
    status          TEXT NOT NULL,
    retries         INTEGER NOT NULL,
    finished_at     REAL,                  -- NULL as long as the status is not final
    idempotency_key TEXT,
    facts           TEXT NOT NULL,         -- JSON: the record's other small fields
    output          TEXT                   -- JSON
);
CREATE INDEX jobs_by_endpoint ON jobs (endpoint);
CREATE INDEX jobs_by_end ON jobs (finished_at);
CREATE INDEX jobs_by_key ON jobs (endpoint, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Apart from jobs: an input can be large, is written once, and a change of the job's row would write it again.
CREATE TABLE job_inputs (
    job   TEXT PRIMARY KEY,
    input TEXT NOT NULL            -- JSON
);

-- Counters since the endpoint was made: they outlive the jobs. None for an endpoint that is gone.
CREATE TABLE counters (
    endpoint  TEXT PRIMARY KEY,
    completed INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    retried   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TRIGGER job_arrived AFTER INSERT ON jobs BEGIN
    INSERT OR IGNORE INTO counters (endpoint) SELECT id FROM endpoints WHERE id = new.endpoint;
    UPDATE counters SET
        completed = completed + (new.status = 'COMPLETED'),
        failed = failed + (new.status IN ('FAILED', 'TIMED_OUT')),
        retried = retried + new.retries
    WHERE endpoint = new.endpoint AND (new.finished_at IS NOT NULL OR new.retries > 0);
END;

CREATE TRIGGER job_changed AFTER UPDATE ON jobs WHEN new.status <> old.status OR new.retries <> old.retries BEGIN
    UPDATE counters SET
        completed = completed + (new.status = 'COMPLETED' AND old.status <> 'COMPLETED'),
        failed = failed + (new.status IN ('FAILED', 'TIMED_OUT') AND old.status NOT IN ('FAILED', 'TIMED_OUT')),
        retried = retried + max(0, new.retries - old.retries)
    WHERE endpoint = new.endpoint;
END;

CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
    DELETE FROM job_inputs WHERE job = old.id;
END;

-- version 2
-- A job says itself until when it is kept, and what it wrote is kept with it.
ALTER TABLE jobs ADD COLUMN expires_at REAL;    -- NULL as long as the status is not final
UPDATE jobs SET expires_at = finished_at + 86400;
DROP INDEX jobs_by_end;
DROP INDEX jobs_by_key;
CREATE INDEX jobs_by_expiry ON jobs (expires_at);
CREATE INDEX jobs_by_key ON jobs (idempotency_key, endpoint) WHERE idempotency_key IS NOT NULL;

CREATE TABLE job_logs (
    job   TEXT PRIMARY KEY,
    lines TEXT NOT NULL            -- JSON: objects with attempt, stream, line
);

DROP TRIGGER job_removed;
CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
    DELETE FROM job_inputs WHERE job = old.id;
    DELETE FROM job_logs WHERE job = old.id;
END;

-- version 3
-- Several users share a control plane, jobs stream what they yield, and somebody may want to be called at their end.
ALTER TABLE endpoints ADD COLUMN owner TEXT NOT NULL DEFAULT '';   -- the user; '' for whoever runs the control plane

-- One row for each job that ended and wanted to be told; it stays, with due_at NULL, when that is done.
CREATE TABLE webhooks (
    job      TEXT PRIMARY KEY,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at   REAL                 -- when the next attempt is due
) WITHOUT ROWID;
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;

-- What generators have yielded and nobody has fetched yet.
CREATE TABLE job_chunks (
    seq   INTEGER PRIMARY KEY,
    job   TEXT NOT NULL,
    chunk TEXT NOT NULL           -- JSON
);
CREATE INDEX chunks_by_job ON job_chunks (job, seq);

DROP TRIGGER job_removed;
CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
    DELETE FROM job_inputs WHERE job = old.id;
    DELETE FROM job_logs WHERE job = old.id;
    DELETE FROM job_chunks WHERE job = old.id;
    DELETE FROM webhooks WHERE job = old.id;
END;

-- version 4
-- Numbers of chunks are never used again, over restarts too: a reader says by them what has arrived.
DROP TRIGGER job_removed;
ALTER TABLE job_chunks RENAME TO old_chunks;
DROP INDEX chunks_by_job;
CREATE TABLE job_chunks (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    job   TEXT NOT NULL,
    chunk TEXT NOT NULL           -- JSON
);
INSERT INTO job_chunks (seq, job, chunk) SELECT seq, job, chunk FROM old_chunks;
DROP TABLE old_chunks;
CREATE INDEX chunks_by_job ON job_chunks (job, seq);

CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
    DELETE FROM job_inputs WHERE job = old.id;
    DELETE FROM job_logs WHERE job = old.id;
    DELETE FROM job_chunks WHERE job = old.id;
    DELETE FROM webhooks WHERE job = old.id;
END;

-- version 5
-- Apps, their stages and what was deployed to them. A stage's endpoints have the scope app:APP/STAGE.
CREATE TABLE apps (
    owner      TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at REAL NOT NULL,
    lasting    INTEGER NOT NULL,   -- 0: made for a stage that expires, and gone with the last one
    PRIMARY KEY (owner, name)
) WITHOUT ROWID;

CREATE TABLE stages (
    owner       TEXT NOT NULL,
    app         TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_at  REAL NOT NULL,
    label       TEXT NOT NULL,
    expires_in  REAL,              -- seconds; NULL: it lasts
    renewed_at  REAL NOT NULL,
    version     INTEGER NOT NULL,  -- the active one; 0: none
    deployed_at REAL,
    PRIMARY KEY (owner, app, name)
) WITHOUT ROWID;

CREATE TABLE versions (
    owner       TEXT NOT NULL,
    app         TEXT NOT NULL,
    stage       TEXT NOT NULL,
    number      INTEGER NOT NULL,
    base        INTEGER NOT NULL,  -- the version that was active before it
    created_at  REAL NOT NULL,
    state       TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    artifacts   TEXT NOT NULL,     -- JSON: their ids
    manifest    TEXT NOT NULL,     -- JSON
    PRIMARY KEY (owner, app, stage, number)
);

-- When endpoints were last used that scripts make without a deploy.
CREATE TABLE last_uses (
    endpoint TEXT PRIMARY KEY,
    used_at  REAL NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER endpoint_removed AFTER DELETE ON endpoints BEGIN
    DELETE FROM last_uses WHERE endpoint = old.id;
END;

-- version 6
-- What happens to jobs is appended to a journal; from memory it is brought to `jobs` later, each job once with what it
-- has become. A row that has a NULL where one of the new columns stands is of an earlier release: that is in its facts.
CREATE TABLE journal (
    seq             INTEGER PRIMARY KEY,   -- order of what happened
    job             INTEGER NOT NULL,      -- its number, jobs.seq
    status          TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    retries         INTEGER NOT NULL,
    started_at      REAL,
    finished_at     REAL,
    worker          TEXT,
    more            TEXT,                  -- JSON: what few jobs have; NULL where this one has none
    result          BLOB,                  -- bytes: a payload; text: see control_plane/job_rows.py
    id              TEXT,                  -- this and what follows is said with the first row of a job
    endpoint        TEXT,
    created_at      REAL,
    client          TEXT,
    idempotency_key TEXT,
    facts           TEXT,
    input           TEXT,
    arguments       BLOB
);

ALTER TABLE jobs ADD COLUMN attempts INTEGER;
ALTER TABLE jobs ADD COLUMN started_at REAL;
ALTER TABLE jobs ADD COLUMN worker TEXT;
ALTER TABLE jobs ADD COLUMN more TEXT;
ALTER TABLE jobs ADD COLUMN created_at REAL;
ALTER TABLE jobs ADD COLUMN client TEXT;
ALTER TABLE jobs ADD COLUMN input TEXT;         -- NULL: it is in job_inputs
ALTER TABLE jobs ADD COLUMN arguments BLOB;
ALTER TABLE jobs ADD COLUMN result BLOB;        -- in place of output

-- Counters are kept by the store, with the rows that it brings here.
DROP TRIGGER IF EXISTS job_arrived;
DROP TRIGGER IF EXISTS job_changed;

-- version 7
-- One row of the journal has all that one commit says of jobs, packed: see control_plane/job_records.py. Rows of the
-- release before are brought to `jobs` when the file is opened.
ALTER TABLE journal RENAME TO old_journal;
CREATE TABLE journal (
    seq  INTEGER PRIMARY KEY,      -- order of what happened; between two rows lie as many numbers as the first has changes
    jobs BLOB NOT NULL
);
