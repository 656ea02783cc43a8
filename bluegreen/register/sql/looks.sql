-- What is closed here, and what could be closed.

-- Which of `databases` are read-only by default, however that is spelled.
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
