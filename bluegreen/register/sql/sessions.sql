-- Ending the sessions that could still write, or that would keep a setting of the fence.

-- Ends the sessions in `databases` that began by `until`, but for `ours`, AWS's and the server's;
-- returns how many there were. A client's may be a WAL sender that streams nothing, even if it holds
-- a slot (it takes SQL as well), a worker of an extension, or one whose role was dropped meanwhile.
-- Ending a superuser's takes one, and one refusal would fail it as a whole.
CREATE OR REPLACE FUNCTION bluegreen.end_sessions(databases text[], until timestamptz, ours int[])
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN (SELECT count(pg_terminate_backend(a.pid))
      FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
     WHERE a.usesysid IS NOT NULL
       AND a.backend_type !~ '^(parallel worker|autovacuum|logical replication)'
       AND (a.backend_type <> 'walsender'
            OR NOT (a.state = 'active' AND starts_with(a.query, 'START_REPLICATION'))
            OR NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = a.pid))
       AND a.backend_start <= until
       AND a.pid <> ALL (ours)
       AND a.datname = ANY (databases)
       AND a.usename IS DISTINCT FROM 'rdsadmin'
       AND (r.rolsuper IS NOT TRUE OR current_setting('is_superuser') = 'on'));
END $function$;

-- Sessions that hold a virtual transaction id and show no user yet; of `suspects`, if given.
CREATE OR REPLACE FUNCTION bluegreen.still_starting(suspects int[]) RETURNS int[]
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
DECLARE
    starting int[];
BEGIN
    -- Locks first, sessions second: one that has released its lock shows as a session by then.
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

-- Only a superuser, or a role that a provider permits, may end a session that has not logged in.
CREATE OR REPLACE FUNCTION bluegreen.end_starting(pids int[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM pg_terminate_backend(p) FROM unnest(pids) p;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN;
END $function$;

-- Ends the sessions that began under the fence of an attempt that was taken back: they would keep
-- its read-only default. In every database that it had closed, whether it is to move or not.
CREATE OR REPLACE FUNCTION bluegreen.end_born_under(which text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $function$
BEGIN
    PERFORM bluegreen.end_sessions(closed, clock_timestamp(), array[pg_backend_pid()])
       FROM bluegreen.register WHERE attempt = which AND state = 'aborted' AND closed IS NOT NULL;
END $function$;
