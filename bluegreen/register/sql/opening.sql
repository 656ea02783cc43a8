-- The same attempt, on the environment that it opens.

-- Notes on the environment to be opened that it is closed for this attempt, or says why not.
-- It excludes a beginning here: either an attempt that leaves this environment is live already, or
-- its beginning gives up what is expected here.
CREATE OR REPLACE FUNCTION bluegreen.expect_opening(
    which text, its_old_writer text, databases text[]
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '10s' AS $function$
DECLARE
    found text := bluegreen.lock_register();
BEGIN
    IF found IS NOT NULL THEN
        RETURN found;
    END IF;
    SELECT string_agg(wanted, ', ' ORDER BY wanted) INTO found FROM unnest(databases) wanted
     WHERE wanted <> ALL (bluegreen.closed_among(databases));
    IF found IS NOT NULL THEN
        RETURN format('accepts writes in %s, expected it to be closed; try again', found);
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
-- a later one has. An attempt that has ended there may sleep and wake up when its successor is at
-- work: only the order in which they were registered says which may give up the other.
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

-- Opens what is closed here, whatever closed it. `databases` are those that must be open then: a
-- register that was lost and recreated knows of nothing, and would call a closed side open.
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
