-- What the register keeps. This runs in one transaction when needed, and makes what is missing.

CREATE SCHEMA IF NOT EXISTS bluegreen;
CREATE TABLE IF NOT EXISTS bluegreen.register (
    attempt     text PRIMARY KEY,
    state       text NOT NULL CHECK (state IN ('preparing', 'decided', 'aborted', 'done')),
    new_writer  text NOT NULL,
    mark        pg_lsn,
    barrier     pg_lsn,
    slipped     bigint,
    deadline    timestamptz NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS register_one_live
    ON bluegreen.register ((true)) WHERE state IN ('preparing', 'decided');
CREATE TABLE IF NOT EXISTS bluegreen.opening (
    attempt     text PRIMARY KEY,
    state       text NOT NULL CHECK (state IN ('closed', 'opened', 'given up')),
    mark        pg_lsn,
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS bluegreen.closure (
    kind        text NOT NULL CHECK (kind IN ('database', 'role')),
    name        text NOT NULL,
    previous    text,
    attempt     text,
    PRIMARY KEY (kind, name)
);
CREATE TABLE IF NOT EXISTS bluegreen.claim (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    target      text NOT NULL
);
-- What a register of an earlier version has or lacks.
ALTER TABLE bluegreen.register ADD COLUMN IF NOT EXISTS closed text[];
ALTER TABLE bluegreen.register ADD COLUMN IF NOT EXISTS turn bigint;
ALTER TABLE bluegreen.closure ADD COLUMN IF NOT EXISTS attempt text;
ALTER TABLE bluegreen.opening ADD COLUMN IF NOT EXISTS turn bigint;
ALTER TABLE bluegreen.opening ADD COLUMN IF NOT EXISTS leaves text;
ALTER TABLE bluegreen.opening ADD COLUMN IF NOT EXISTS claimed bigint;
CREATE SEQUENCE IF NOT EXISTS bluegreen.register_turn;
CREATE SEQUENCE IF NOT EXISTS bluegreen.opening_turn;
DROP FUNCTION IF EXISTS bluegreen.close_databases(), bluegreen.close_roles(text[]),
    bluegreen.reopen(), bluegreen.reopen_roles(), bluegreen.open_environment(text, pg_lsn);
