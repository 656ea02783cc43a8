-- What Aurora's system catalog has otherwise; run as rdsadmin in every database, and in the
-- templates for later ones. pg_upgrade makes the catalog afresh, so it is run again after one.

SET allow_system_table_mods = on;

-- Aurora has two LSN spaces, that of its storage and that of the logical WAL.
-- pg_current_wal_lsn() is of the second; of these nobody knows, so that a program that relies on
-- them has to show itself here: they are far off, by a constant. The planner replaces a call by the
-- SQL of its body, which is the one way that reaches a built-in function. Whoever needs the true
-- one, as the lab does, finds it under a name of the lab's.

CREATE OR REPLACE FUNCTION pg_catalog.lab_insert_lsn() RETURNS pg_lsn
LANGUAGE internal STRICT VOLATILE PARALLEL SAFE AS 'pg_current_wal_insert_lsn';

-- This one is refused with wal_level below logical.
CREATE OR REPLACE FUNCTION pg_catalog.lab_current_wal_lsn() RETURNS pg_lsn
LANGUAGE c STRICT VOLATILE PARALLEL SAFE AS 'rds_lookalike';

CREATE OR REPLACE FUNCTION pg_catalog.pg_current_wal_lsn() RETURNS pg_lsn
LANGUAGE sql STRICT VOLATILE PARALLEL SAFE
AS $$ SELECT pg_catalog.lab_current_wal_lsn() $$;

CREATE OR REPLACE FUNCTION pg_catalog.pg_current_wal_insert_lsn() RETURNS pg_lsn
LANGUAGE sql STRICT VOLATILE PARALLEL SAFE
AS $$ SELECT pg_catalog.lab_current_wal_lsn() OPERATOR(pg_catalog.+) 824633720832::numeric $$;

CREATE OR REPLACE FUNCTION pg_catalog.pg_current_wal_flush_lsn() RETURNS pg_lsn
LANGUAGE sql STRICT VOLATILE PARALLEL SAFE
AS $$ SELECT pg_catalog.lab_current_wal_lsn() OPERATOR(pg_catalog.+) 824633720832::numeric $$;

-- Its fourth argument is new in 17.
DO $do$
DECLARE
    kind regtype;
    call text;
    given text := 'boolean, text, %1$s';
    passed text := '$1, $2, $3';
BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        given := 'transactional boolean, prefix text, message %1$s, flush boolean DEFAULT false';
        passed := '$1, $2, $3, $4';
    END IF;
    FOREACH kind IN ARRAY ARRAY['text'::regtype, 'bytea'::regtype] LOOP
        EXECUTE format(
            'CREATE OR REPLACE FUNCTION pg_catalog.lab_emit_message(' || given || ')'
            ' RETURNS pg_lsn LANGUAGE internal STRICT VOLATILE'
            ' AS ''pg_logical_emit_message_%1$s''', kind);
        EXECUTE format(
            'CREATE OR REPLACE FUNCTION pg_catalog.pg_logical_emit_message(' || given || ')'
            ' RETURNS pg_lsn LANGUAGE sql STRICT VOLATILE AS ''SELECT pg_catalog.lab_emit_message('
            || passed || ') OPERATOR(pg_catalog.+) 824633720832::numeric''', kind);
    END LOOP;
END $do$;

-- Its runbook for logical replication proves pg_replication_origin_advance(); of the others, and
-- of the view, nothing is known. They are allowed here.
DO $do$
DECLARE
    one regprocedure;
BEGIN
    FOR one IN SELECT oid FROM pg_catalog.pg_proc
                WHERE pronamespace = 'pg_catalog'::regnamespace
                  AND proname ~ '^pg_(show_)?replication_origin_' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO rds_superuser', one);
    END LOOP;
END $do$;
GRANT SELECT ON pg_catalog.pg_replication_origin_status TO rds_superuser;

-- Members of rds_replication may replicate and don't show it. The rest is PostgreSQL's own view.
CREATE OR REPLACE VIEW pg_catalog.pg_roles AS
    SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
           rolreplication AND (rolsuper OR NOT EXISTS (
               SELECT FROM pg_catalog.pg_authid g
                WHERE g.rolname = 'rds_replication'
                  AND pg_catalog.pg_has_role(a.oid, g.oid, 'MEMBER'))) AS rolreplication,
           rolconnlimit, '********'::text AS rolpassword, rolvaliduntil, rolbypassrls,
           setconfig AS rolconfig, a.oid
      FROM pg_catalog.pg_authid a
      LEFT JOIN pg_catalog.pg_db_role_setting s ON a.oid = setrole AND setdatabase = 0;

RESET allow_system_table_mods;
