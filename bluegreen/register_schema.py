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
    PRIMARY KEY (kind, name)
);
CREATE OR REPLACE FUNCTION bluegreen.close_databases() RETURNS void
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
        INSERT INTO bluegreen.closure VALUES ('database', item.datname, item.previous)
            ON CONFLICT DO NOTHING;
        EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', item.datname);
    END LOOP;
END $function$;
CREATE OR REPLACE FUNCTION bluegreen.close_roles(roles text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    item record;
BEGIN
    FOR item IN SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname = ANY (roles) LOOP
        INSERT INTO bluegreen.closure VALUES ('role', item.rolname, NULL) ON CONFLICT DO NOTHING;
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
            AND (a.usename IS NOT NULL OR a.backend_type <> 'client backend')));
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
    PERFORM bluegreen.close_roles(roles);
    RETURN true;
END $function$;
CREATE OR REPLACE FUNCTION bluegreen.reopen_roles() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    item record;
BEGIN
    FOR item IN DELETE FROM bluegreen.closure WHERE kind = 'role' RETURNING name LOOP
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
        PERFORM bluegreen.reopen_roles();
    END IF;
END $function$;
CREATE OR REPLACE FUNCTION bluegreen.reopen() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    item record;
BEGIN
    PERFORM bluegreen.reopen_roles();
    FOR item IN DELETE FROM bluegreen.closure WHERE kind = 'database' RETURNING name, previous LOOP
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
CREATE OR REPLACE FUNCTION bluegreen.abort_switch(which text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    UPDATE bluegreen.register SET state = 'aborted', ended_at = clock_timestamp()
        WHERE attempt = which AND state = 'preparing';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM bluegreen.reopen();
    RETURN true;
END $function$;
CREATE OR REPLACE FUNCTION bluegreen.go_back(which text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    UPDATE bluegreen.register SET state = 'aborted', ended_at = clock_timestamp()
        WHERE attempt = which AND state = 'decided';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM bluegreen.reopen();
    RETURN true;
END $function$;
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
CREATE OR REPLACE FUNCTION bluegreen.open_environment(which text, its_mark pg_lsn) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    UPDATE bluegreen.opening SET state = 'opened', mark = its_mark, changed_at = clock_timestamp()
        WHERE attempt = which AND state = 'closed';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM bluegreen.reopen();
    RETURN true;
END $function$;
"""
"""Makes what is missing, and brings the functions to this version."""
