-- An attempt, in the register of the environment that it leaves: begun, decided, taken back.

-- Locks the register for the rest of the transaction, and says which attempt is live; NULL without
-- one. The lock blocks beginnings, and every change of a row, but not a finisher, which holds a row
-- for as long as its drain takes.
CREATE OR REPLACE FUNCTION bluegreen.lock_register() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    LOCK TABLE bluegreen.register IN SHARE ROW EXCLUSIVE MODE;
    RETURN (SELECT format('attempt %s is under way; wait for it', attempt)
      FROM bluegreen.register WHERE state IN ('preparing', 'decided'));
END $function$;

-- Registers an attempt that its server fuse will abort after `seconds`, or says why not. Checking
-- and registering are one transaction: what a caller has seen before may have changed since (seen:
-- two switches half a second apart, and the abort of the second opened what the first had closed).
CREATE OR REPLACE FUNCTION bluegreen.begin_switch(
    which text, its_new_writer text, seconds float8, databases text[]
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '10s' AS $function$
DECLARE
    found text := bluegreen.lock_register();
BEGIN
    IF found IS NOT NULL THEN
        RETURN found;
    END IF;
    SELECT coalesce(min(attempt), 'the clone''s making') INTO found FROM bluegreen.closure
     HAVING count(*) > 0;
    IF found IS NOT NULL THEN
        RETURN format('was closed meanwhile, by %s; try again', found);
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
    -- This environment is open, so no decided attempt waits to open it. An orchestrator that
    -- expected to, and slept since, would leave the other side while this attempt is live.
    UPDATE bluegreen.opening SET state = 'given up', changed_at = clock_timestamp()
        WHERE state = 'closed';
    INSERT INTO bluegreen.register (attempt, state, new_writer, deadline, turn) VALUES (which,
        'preparing', its_new_writer, clock_timestamp() + make_interval(secs => seconds),
        nextval('bluegreen.register_turn'));
    RETURN NULL;
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
        SET state = 'decided', mark = its_mark, barrier = pg_current_wal_lsn()
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

-- Every abort and every way back calls this one command, so that a caller that dies leaves nothing
-- half done. The sessions are ended after the commit: earlier, new ones would get the default, too.
-- A procedure that commits may have no settings of its own, so its names are qualified.
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
