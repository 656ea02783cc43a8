-- The master user owns one schema and lets the application in; the other is the application's own.

GRANT USAGE ON SCHEMA shop TO app_user;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO app_user;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA shop TO app_user;
-- First: who is given a table must have the right to make one there.
ALTER SCHEMA "Odd Names" OWNER TO app_user;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = '"Odd Names"'::regnamespace AND c.relkind IN ('r', 'p')
    LOOP
        EXECUTE 'ALTER TABLE ' || name || ' OWNER TO app_user';
    END LOOP;
END $$;
ALTER SEQUENCE "Odd Names"."say ""hello"", sequence" OWNER TO app_user;
