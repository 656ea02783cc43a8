-- Closing an environment, and undoing it.
--
-- The application's databases are closed: the tool's database stays writable for the register,
-- AWS's own is left alone, and applications don't write to templates.

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
        -- Closed already: its earlier value is known, and must not be overwritten.
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

-- Undoes what `which` has closed; everything that is closed if it is NULL.
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

-- If the old side stays readable, fence mode no-login was for the switch only.
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
