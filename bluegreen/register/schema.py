"""The tables of the tool's database, and the functions that keep their rules.

Rules that involve several tables are functions, so that one transaction on one server keeps them,
whoever calls: the orchestrator, a fuse, or a finisher. Everywhere the register's row is locked
first, and databases are altered second.
"""

from __future__ import annotations

# Closed is what belongs to the application: the tool's database stays writable for the register,
# AWS's own is none of ours, and applications don't write to templates.
SCHEMA = """\
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
-- Which of `databases` are read-only by default, however that is spelt.
CREATE OR REPLACE FUNCTION bluegreen.closed_among(databases text[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    RETURN (SELECT coalesce(array_agg(d.datname::text ORDER BY d.datname), '{}')
      FROM pg_database d
     WHERE d.datname = ANY (databases) AND EXISTS (
        SELECT FROM pg_db_role_setting s, unnest(s.setconfig) option
         WHERE s.setdatabase = d.oid AND s.setrole = 0
           AND CASE WHEN option LIKE 'default_transaction_read_only=%'
                    THEN split_part(option, '=', 2)::boolean ELSE false END));
END $function$;
-- Which of `databases` closing would leave out: see close_databases.
CREATE OR REPLACE FUNCTION bluegreen.not_closable_among(databases text[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    RETURN (SELECT coalesce(array_agg(wanted ORDER BY wanted), '{}') FROM unnest(databases) wanted
     WHERE NOT EXISTS (SELECT FROM pg_database d
        WHERE d.datname = wanted AND d.datallowconn AND NOT d.datistemplate
          AND d.datname NOT IN ('bluegreen', 'rdsadmin')));
END $function$;
-- `which` is the attempt that closes; NULL for a clone, which no attempt has closed: only an
-- opening opens it.
CREATE OR REPLACE FUNCTION bluegreen.close_databases(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT d.datname,
            (SELECT split_part(option, '=', 2)
               FROM pg_db_role_setting s, unnest(s.setconfig) option
              WHERE s.setdatabase = d.oid AND s.setrole = 0
                AND option LIKE 'default_transaction_read_only=%') AS previous
          FROM pg_database d
         WHERE d.datallowconn AND NOT d.datistemplate
           AND d.datname NOT IN ('bluegreen', 'rdsadmin')
         ORDER BY d.datname
    LOOP
        -- Closed already: what was there before is known, and not to be overwritten.
        INSERT INTO bluegreen.closure (kind, name, previous, attempt)
            VALUES ('database', item.datname, item.previous, which) ON CONFLICT DO NOTHING;
        EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', item.datname);
    END LOOP;
END $function$;
CREATE OR REPLACE FUNCTION bluegreen.close_roles(which text, roles text[])
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    item record;
BEGIN
    FOR item IN SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname = ANY (roles) LOOP
        INSERT INTO bluegreen.closure (kind, name, attempt) VALUES ('role', item.rolname, which)
            ON CONFLICT DO NOTHING;
        EXECUTE format('ALTER ROLE %I NOLOGIN', item.rolname);
    END LOOP;
END $function$;
-- Ends the sessions in `databases` that began by `until`, but for `ours`, AWS's and the server's;
-- returns how many there were. A client's may be a WAL sender that streams nothing (it takes SQL as
-- well), a worker of an extension, or one whose role was dropped meanwhile. Ending a superuser's
-- takes one, and one refusal would fail it as a whole.
CREATE OR REPLACE FUNCTION bluegreen.end_sessions(databases text[], until timestamptz, ours int[])
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN (SELECT count(pg_terminate_backend(a.pid))
      FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
     WHERE a.usesysid IS NOT NULL
       AND a.backend_type !~ '^(parallel worker|autovacuum|logical replication)'
       AND (a.backend_type <> 'walsender' OR NOT EXISTS (
            SELECT FROM pg_replication_slots s WHERE s.active_pid = a.pid))
       AND a.backend_start <= until
       AND a.pid <> ALL (ours)
       AND a.datname = ANY (databases)
       AND a.usename IS DISTINCT FROM 'rdsadmin'
       AND (r.rolsuper IS NOT TRUE OR current_setting('is_superuser') = 'on'));
END $function$;
-- Who holds a virtual transaction id and shows no user yet, of `suspects` if there are any given.
CREATE OR REPLACE FUNCTION bluegreen.still_starting(suspects int[]) RETURNS int[]
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    starting int[];
BEGIN
    -- Locks first, sessions second: who gives the one up is among the other by then.
    SELECT coalesce(array_agg(l.pid), '{}') INTO starting
      FROM pg_locks l
     WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid();
    PERFORM pg_stat_clear_snapshot();
    RETURN (SELECT coalesce(array_agg(p), '{}')
      FROM unnest(starting) p
     WHERE (suspects IS NULL OR p = ANY (suspects))
       AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = p
            AND (a.usesysid IS NOT NULL OR a.backend_type <> 'client backend')));
END $function$;
-- Only a superuser, or whom a provider lets, may end who has not logged in yet.
CREATE OR REPLACE FUNCTION bluegreen.end_starting(pids int[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM pg_terminate_backend(p) FROM unnest(pids) p;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN;
END $function$;
-- An attempt's last claim on the side that it has left; a later switch may have given it back.
CREATE OR REPLACE FUNCTION bluegreen.close_old(which text, roles text[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM FROM bluegreen.register WHERE attempt = which AND state = 'decided' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM bluegreen.close_roles(which, roles);
    RETURN true;
END $function$;
-- Undoes what `which` has closed; whatever is closed if it is NULL.
CREATE OR REPLACE FUNCTION bluegreen.reopen_roles(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    item record;
BEGIN
    FOR item IN DELETE FROM bluegreen.closure
         WHERE kind = 'role' AND (which IS NULL OR attempt = which) RETURNING name
    LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = item.name) THEN
            EXECUTE format('ALTER ROLE %I LOGIN', item.name);
        END IF;
    END LOOP;
END $function$;
-- Where the old side is to be read on, fence mode no-login was for the switch only.
CREATE OR REPLACE FUNCTION bluegreen.let_roles_in(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM FROM bluegreen.register WHERE attempt = which AND state = 'decided' FOR UPDATE;
    IF FOUND THEN
        PERFORM bluegreen.reopen_roles(which);
    END IF;
END $function$;
CREATE OR REPLACE FUNCTION bluegreen.reopen(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    item record;
BEGIN
    PERFORM bluegreen.reopen_roles(which);
    FOR item IN DELETE FROM bluegreen.closure
         WHERE kind = 'database' AND (which IS NULL OR attempt = which) RETURNING name, previous
    LOOP
        IF EXISTS (SELECT FROM pg_database WHERE datname = item.name) THEN
            IF item.previous IS NULL THEN
                EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', item.name);
            ELSE
                EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = %L',
                               item.name, item.previous);
            END IF;
        END IF;
    END LOOP;
END $function$;
-- Registers an attempt that its server fuse will abort after `seconds`, or says why not. Looking
-- and registering are one transaction: what a caller has seen before may have changed since (seen:
-- two switches half a second apart, and the abort of the second opened what the first had closed).
-- The lock is in the way of other beginnings, and of every change of a row; not of a finisher, who
-- holds a row for as long as his drain takes.
CREATE OR REPLACE FUNCTION bluegreen.begin_switch(
    which text, its_new_writer text, seconds float8, databases text[]
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '10s' AS $function$
DECLARE
    found text;
BEGIN
    LOCK TABLE bluegreen.register IN SHARE ROW EXCLUSIVE MODE;
    SELECT attempt INTO found FROM bluegreen.register WHERE state IN ('preparing', 'decided');
    IF found IS NOT NULL THEN
        RETURN format('attempt %s is under way; wait for it', found);
    END IF;
    SELECT coalesce(min(attempt), 'the clone''s making') INTO found FROM bluegreen.closure
     HAVING count(*) > 0;
    IF found IS NOT NULL THEN
        RETURN format('was closed meanwhile, by %s; look again', found);
    END IF;
    found := array_to_string(bluegreen.closed_among(databases), ', ');
    IF found <> '' THEN
        RETURN format('read-only by default: %s; find out who closed it, and ALTER DATABASE ...'
            ' RESET default_transaction_read_only', found);
    END IF;
    found := array_to_string(bluegreen.not_closable_among(databases), ', ');
    IF found <> '' THEN
        RETURN format('can''t be fenced: %s; expected databases that exist, allow connections and'
            ' are no templates', found);
    END IF;
    -- This environment is open, so no decided attempt waits to open it. Whoever expected to, an
    -- orchestrator that slept since, would leave the other side while this attempt is live.
    UPDATE bluegreen.opening SET state = 'given up', changed_at = clock_timestamp()
        WHERE state = 'closed';
    INSERT INTO bluegreen.register (attempt, state, new_writer, deadline, turn) VALUES (which,
        'preparing', its_new_writer, clock_timestamp() + make_interval(secs => seconds),
        nextval('bluegreen.register_turn'));
    RETURN NULL;
END $function$;
-- Notes on the environment to be opened that it is closed for this attempt, or says why not.
-- Excludes a beginning here: an attempt that leaves this environment is live, or its beginning
-- gives up what is expected here.
CREATE OR REPLACE FUNCTION bluegreen.expect_opening(
    which text, its_old_writer text, databases text[]
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '10s' AS $function$
DECLARE
    found text;
BEGIN
    LOCK TABLE bluegreen.register IN SHARE ROW EXCLUSIVE MODE;
    SELECT attempt INTO found FROM bluegreen.register WHERE state IN ('preparing', 'decided');
    IF found IS NOT NULL THEN
        RETURN format('attempt %s is under way; wait for it', found);
    END IF;
    SELECT string_agg(wanted, ', ' ORDER BY wanted) INTO found FROM unnest(databases) wanted
     WHERE wanted <> ALL (bluegreen.closed_among(databases));
    IF found IS NOT NULL THEN
        RETURN format('accepts writes in %s, expected it to be closed; look again', found);
    END IF;
    -- Counted when the attempt that left is done, so it is known as soon as none is live.
    SELECT sum(slipped)::text INTO found FROM bluegreen.register HAVING sum(slipped) > 0;
    IF found IS NOT NULL THEN
        RETURN format('%s write(s) came there after it had been left, and are nowhere else; bring'
            ' them over, then set slipped to 0 in bluegreen.register there', found);
    END IF;
    INSERT INTO bluegreen.opening (attempt, state, leaves)
        VALUES (which, 'closed', its_old_writer) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $function$;
-- Claims the opening by the attempt's turn in the register of the side that it leaves; false when
-- a later one has. Who has ended there may sleep and wake up when his successor is at work: only
-- the order in which they were registered says who may give up whom.
CREATE OR REPLACE FUNCTION bluegreen.claim_opening(which text, its_turn bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '10s' AS $function$
DECLARE
    its_old_writer text;
BEGIN
    LOCK TABLE bluegreen.opening IN SHARE ROW EXCLUSIVE MODE;
    UPDATE bluegreen.opening SET claimed = its_turn
        WHERE attempt = which AND state = 'closed' RETURNING leaves INTO its_old_writer;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT FROM bluegreen.opening
                WHERE leaves = its_old_writer AND claimed > its_turn) THEN
        UPDATE bluegreen.opening SET state = 'given up', changed_at = clock_timestamp()
            WHERE attempt = which;
        RETURN false;
    END IF;
    RETURN true;
END $function$;
-- Takes the fence of an attempt off that is in state `from_state`; false when it isn't.
CREATE OR REPLACE FUNCTION bluegreen.take_back(which text, from_state text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    UPDATE bluegreen.register
        SET state = 'aborted', ended_at = clock_timestamp(), closed = (
            SELECT array_agg(name ORDER BY name) FROM bluegreen.closure c
             WHERE c.kind = 'database' AND c.attempt = which)
        WHERE attempt = which AND state = from_state;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM bluegreen.reopen(which);
    RETURN true;
END $function$;
-- Ends the sessions that began under the fence of an attempt that was taken back: they would keep
-- its read-only default. In every database that it had closed, whether it is to move or not.
CREATE OR REPLACE FUNCTION bluegreen.end_born_under(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM bluegreen.end_sessions(closed, clock_timestamp(), array[pg_backend_pid()])
       FROM bluegreen.register WHERE attempt = which AND state = 'aborted' AND closed IS NOT NULL;
END $function$;
-- What all call who abort or go back: one command, so that nothing is left half done by a caller
-- who dies. The sessions are ended behind the commit: before, new ones would be born the same. A
-- procedure that commits may have no settings of its own, so its names are qualified.
CREATE OR REPLACE PROCEDURE bluegreen.open_again(
    which text, from_state text, INOUT taken_back boolean
) LANGUAGE plpgsql AS $procedure$
BEGIN
    taken_back := bluegreen.take_back(which, from_state);
    IF taken_back THEN
        COMMIT;
        PERFORM bluegreen.end_born_under(which);
    END IF;
END $procedure$;
-- The one commit point. A fence that leaks is noticed here: had anything else written since the
-- heartbeats, an id would be missing between theirs and this transaction's, or still be held. A
-- snapshot would not show the transaction that began last: its xmax is the last completed id + 1.
-- Those that were open when the barrier was set have older ids, and may have committed behind it.
CREATE OR REPLACE FUNCTION bluegreen.decide_switch(
    which text, heartbeats bigint[], older bigint[], its_mark pg_lsn
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    mine bigint;
    first bigint;
    last bigint;
BEGIN
    UPDATE bluegreen.register
        SET state = 'decided', mark = its_mark, barrier = pg_current_wal_insert_lsn()
        WHERE attempt = which AND state = 'preparing';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    mine := pg_current_xact_id()::text::bigint;
    SELECT min(h), max(h) INTO first, last FROM unnest(heartbeats) h;
    IF mine <> last + 1 OR last - first + 1 <> cardinality(heartbeats) OR EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'transactionid' AND granted
           AND pid IS DISTINCT FROM pg_backend_pid())
        OR EXISTS (SELECT FROM unnest(older) o
            WHERE pg_xact_status(o::text::xid8) IS DISTINCT FROM 'aborted')
    THEN
        RAISE EXCEPTION 'not quiet' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN true;
END $function$;
-- Opens what is closed here, whoever closed it. `databases` are those that must be open then: a
-- register that was lost and made again knows of nothing, and would call a closed side open.
CREATE OR REPLACE FUNCTION bluegreen.open_environment(
    which text, its_mark pg_lsn, databases text[]
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    UPDATE bluegreen.opening SET state = 'opened', mark = its_mark, changed_at = clock_timestamp(),
            turn = nextval('bluegreen.opening_turn')
        WHERE attempt = which AND state = 'closed';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM bluegreen.reopen(NULL);
    PERFORM bluegreen.require_open(databases);
    RETURN true;
END $function$;
CREATE OR REPLACE FUNCTION bluegreen.require_open(databases text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    still text[] := bluegreen.closed_among(databases);
BEGIN
    IF cardinality(still) > 0 THEN
        RAISE EXCEPTION '%', array_to_string(still, ', ')
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;
END $function$;
"""
"""Makes what is missing, and brings the functions to this version."""
