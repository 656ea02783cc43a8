"""Functions that only look: each that a statement of the program calls is called once."""

from __future__ import annotations

from bluegreen.postgres.server import OPTIONS, SESSION
from bluegreen.probe.row import Mode, Row, any_answer, shown, true

_ORDINARY = "Nothing that this program sends is beyond what the role may call."
_COMPARED = "Readiness can spell definitions as the server does, to compare the two sides."

_PLAIN = (
    Row(
        what="text and array functions",
        statement=(
            "SELECT format('%I', lower('A')) || quote_ident('a') || quote_literal('a')"
            " || md5('a') || substr('abc', 2) || split_part('a=b', '=', 2) || concat_ws(' ', 'a')"
            " || array_to_string(ARRAY['a'], ',') IS NOT NULL"
            " AND starts_with('ab', 'a') AND strpos('ab', 'b') = 2"
            " AND cardinality(ARRAY[1, 2]) = 2"
            " AND (SELECT count(*) FROM regexp_matches('a1b2', '[0-9]', 'g')) = 2"
        ),
        right="true",
        settles=_ORDINARY,
        judge=true,
    ),
    Row(
        what="aggregates and series",
        statement=(
            "SELECT array_agg(n) = ARRAY[1, 2] AND bool_and(n > 0) AND bool_or(n > 1)"
            " AND max(n) = 2 AND min(n) = 1 AND sum(n) = 3 AND count(*) = 2"
            " AND string_agg(n::text, ',') = '1,2' AND json_agg(n) IS NOT NULL"
            " FROM (SELECT unnest(ARRAY[1]) UNION ALL SELECT generate_series(2, 2)) t(n)"
        ),
        right="true",
        settles=_ORDINARY,
        judge=true,
    ),
    Row(
        what="JSON functions",
        statement=(
            "SELECT json_build_object('a', 1) IS NOT NULL AND jsonb_build_object('a', 1) ? 'a'"
            " AND jsonb_typeof(to_jsonb(1)) = 'number'"
            " AND (SELECT count(*) FROM jsonb_each_text('{\"a\": 1}')) = 1"
            " AND (SELECT a FROM jsonb_to_recordset('[{\"a\": 1}]') AS r(a int)) = 1"
        ),
        right="true",
        settles=_ORDINARY,
        judge=true,
    ),
    Row(
        what="hashes and times",
        statement=(
            "SELECT hash_record_extended(ROW(1, 'a'::text), 0) IS NOT NULL"
            " AND hashtextextended('a', 0) IS NOT NULL AND int4send(1) = '\\x00000001'::bytea"
            " AND clock_timestamp() >= now() AND make_interval(secs => 1) = '1 second'"
            " AND extract(epoch FROM '1 second'::interval)::numeric(9, 1) = 1"
        ),
        right="true",
        settles="Markers of a schema are counted so; a record's hash is of 14 and later.",
        judge=true,
    ),
    Row(
        what="the session's own surroundings",
        statement=(
            "SELECT current_database() IS NOT NULL AND pg_backend_pid() > 0"
            " AND current_setting('server_version_num')::int >= 140000"
            " AND current_setting('bluegreen.applied', true) IS DISTINCT FROM 'x'"
        ),
        right="true",
        settles=_ORDINARY,
        judge=true,
    ),
    Row(
        what="the writer's own word: pg_is_in_recovery",
        statement="SELECT NOT pg_catalog.pg_is_in_recovery()",
        right="true: a writer is not in recovery",
        settles="The endpoint of a cluster leads to its writer, and a reader says that it is one.",
        judge=true,
        writer=True,
    ),
    Row(
        what="transaction ids and snapshots",
        statement=(
            "SELECT pg_current_xact_id()::text::bigint > 0"
            " AND pg_xact_status(pg_current_xact_id()) = 'in progress'"
            " AND pg_snapshot_xmax(pg_current_snapshot())::text::bigint > 0"
            " AND (SELECT count(*) FROM pg_snapshot_xip(pg_current_snapshot())) >= 0"
        ),
        right="true",
        settles="The decision asks for the ids of what was open at the barrier.",
        mode=Mode.ROLLED_BACK,
        judge=true,
        writer=True,
    ),
    Row(
        what="a short sleep in the server",
        statement="SELECT pg_sleep(0.001)",
        right="an answer after a moment",
        settles="Waiting in the server, and the server fuse.",
    ),
    Row(
        what="advisory locks",
        statement=(
            "SELECT pg_advisory_lock(4782, 99), pg_advisory_unlock(4782, 99),"
            " pg_advisory_xact_lock(4782, 99)"
        ),
        right="an answer",
        settles="One finisher at a time.",
    ),
    Row(
        what="privileges of a role, asked",
        statement=(
            "SELECT has_table_privilege('pg_catalog.pg_class', 'SELECT')"
            " AND has_column_privilege('pg_catalog.pg_class', 'relname', 'SELECT')"
            " AND has_schema_privilege('pg_catalog', 'USAGE')"
            " AND has_database_privilege(current_database(), 'CONNECT')"
            " AND has_language_privilege('plpgsql', 'USAGE')"
            " AND pg_has_role(current_user, 'USAGE')"
        ),
        right="true; plpgsql is what the switch waits in",
        settles="What the administrator lacks is named before a switch.",
        judge=true,
    ),
    Row(
        what="privileges on parameters, asked",
        statement="SELECT has_parameter_privilege('event_triggers', 'SET') IS NOT NULL",
        right="true, whatever the privilege",
        settles="The tool's sessions switch event triggers off where they may.",
        judge=true,
        least_major=17,
    ),
    Row(
        what="access lists, read",
        statement=(
            "SELECT count(*) FROM pg_class c, aclexplode(coalesce(c.relacl,"
            " acldefault('r', c.relowner))) a WHERE c.oid = 'pg_catalog.pg_class'::regclass"
        ),
        right="a number",
        settles="Who keeps LOGIN and may write is found beforehand.",
    ),
    Row(
        what="names of objects, and what is written on them",
        statement=(
            "SELECT to_regclass('pg_catalog.pg_class') IS NOT NULL"
            " AND to_regrole('bluegreen_probe') IS NULL"
            " AND pg_get_userbyid(datdba) IS NOT NULL AND pg_encoding_to_char(encoding) IS NOT NULL"
            " AND format_type('int4'::regtype, NULL) = 'integer'"
            " AND pg_describe_object('pg_class'::regclass, 'pg_class'::regclass, 0) IS NOT NULL"
            " AND (SELECT identity IS NOT NULL"
            " FROM pg_identify_object('pg_class'::regclass, 'pg_class'::regclass, 0))"
            " AND coalesce(obj_description('pg_catalog'::regnamespace, 'pg_namespace'), '')"
            " IS NOT NULL AND coalesce(shobj_description(oid, 'pg_database'), '') IS NOT NULL"
            " FROM pg_database WHERE datname = current_database()"
        ),
        right="true",
        settles="The tool's mark is a comment, and what is in the way is named.",
        judge=true,
    ),
    Row(
        what="definitions: functions, views, rules, indexes",
        statement=(
            "SELECT pg_get_function_arguments(p) IS NOT NULL"
            " AND pg_get_function_identity_arguments(p) IS NOT NULL"
            " AND pg_get_function_result(p) IS NOT NULL"
            " AND coalesce(pg_get_function_sqlbody(p), '') IS NOT NULL"
            " AND pg_get_viewdef('pg_catalog.pg_roles'::regclass) IS NOT NULL"
            " AND (SELECT pg_get_ruledef(r.oid) IS NOT NULL FROM pg_rewrite r"
            " WHERE r.ev_class = 'pg_catalog.pg_roles'::regclass)"
            " AND pg_get_indexdef('pg_catalog.pg_class_oid_index'::regclass) IS NOT NULL"
            " FROM (SELECT 'pg_catalog.lower(text)'::regprocedure::oid) f(p)"
        ),
        right="true",
        settles=_COMPARED,
        judge=true,
    ),
    Row(
        what="sizes, partitions, whether a view can be written",
        statement=(
            "SELECT pg_relation_size('pg_catalog.pg_class') > 0"
            " AND pg_table_size('pg_catalog.pg_class') > 0"
            " AND (SELECT count(*) FROM pg_partition_tree('pg_catalog.pg_class')) >= 0"
            " AND pg_relation_is_updatable('pg_catalog.pg_roles', true) IS NOT NULL"
        ),
        right="true",
        settles="What ANALYZE has to do after an upgrade, and which views a role may write.",
        judge=true,
    ),
    Row(
        what="a SQL function's text, parsed as the server would",
        statement=(
            "SELECT pg_catalog.fmgr_sql_validator("
            "'pg_catalog.obj_description(oid, name)'::regprocedure)"
        ),
        right="an answer",
        settles="Functions that find nothing with an empty search_path are named before the clone.",
        judge=any_answer,
    ),
    Row(
        what="sessions, seen afresh within a transaction",
        statement=(
            "SELECT pg_stat_clear_snapshot(), (SELECT count(*) FROM pg_stat_get_activity(NULL))"
        ),
        right="an answer",
        settles="The fence looks again and again for sessions that are left.",
    ),
    Row(
        what="workers of subscriptions",
        statement="SELECT count(*) FROM pg_stat_get_subscription(NULL)",
        right="a number",
        settles="The old direction is over when no worker is left.",
    ),
)

_STATE = (
    Row(
        what="origins' positions: pg_show_replication_origin_status",
        statement="SELECT count(*) FROM pg_catalog.pg_show_replication_origin_status()",
        right="a number",
        settles=(
            "Every look at a subscription reads it. PostgreSQL gives it to its superuser only;"
            " nobody has said what rds_superuser has."
        ),
    ),
    Row(
        what="the system's identifier: pg_control_system",
        statement=("SELECT system_identifier IS NOT NULL FROM pg_catalog.pg_control_system()"),
        right="true",
        settles="A first copy's slot is known by it alone.",
        judge=true,
    ),
    Row(
        what="whose server it is: aurora_version",
        statement="SELECT pg_catalog.aurora_version()",
        right="Aurora's version",
        settles="The server is Aurora at all.",
        judge=shown,
        question=True,
    ),
    Row(
        what="where certificates of authorities are: ssl_ca_file",
        statement=(
            "SELECT CASE WHEN f LIKE '/rdsdbdata/%' THEN f WHEN f <> '' THEN 'another path' END"
            " FROM current_setting('ssl_ca_file', true) f"
        ),
        right="a path on the server's own host",
        settles=(
            "A subscription's connection is made by the server, which needs a file of its own for"
            " verify-full."
        ),
        judge=shown,
        question=True,
    ),
    Row(
        what="wal_level",
        statement="SELECT current_setting('wal_level') = 'logical'",
        right="true; with rds.logical_replication 0 many rows below are refused",
        settles="rds.logical_replication sets it.",
        judge=true,
    ),
    Row(
        what="settings of replication that must be known by these names",
        statement=(
            "SELECT current_setting('max_replication_slots')::int > 0"
            " AND current_setting('max_wal_senders')::int > 0"
            " AND current_setting('max_logical_replication_workers')::int > 0"
            " AND current_setting('max_worker_processes')::int > 0"
            " AND current_setting('server_encoding') <> ''"
            " AND current_setting('is_superuser') <> ''"
            " AND EXISTS (SELECT FROM pg_catalog.pg_settings"
            " WHERE name = 'max_slot_wal_keep_size')"
        ),
        right="true",
        settles="Room for replication is counted before anything is made.",
        judge=true,
    ),
    Row(
        what="processes in a transaction that show in no view, as unfinished logins do",
        statement=(
            "SELECT count(*) = 0 FROM pg_catalog.pg_locks l WHERE l.locktype = 'virtualxid'"
            " AND l.granted AND l.pid <> pg_backend_pid() AND NOT EXISTS"
            " (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid)"
        ),
        right="true; false also where a client is logging in right now, so try again",
        settles=(
            "The fence waits for logins until they end. A process of the service that looks like"
            " one would end every switch before its decision, without harm."
        ),
        judge=true,
    ),
    Row(
        what="jobs of pg_cron",
        statement=(
            "SELECT to_regclass('cron.job') IS NOT NULL, current_setting('cron.log_run', true)"
        ),
        right="an answer; false where there is no pg_cron in this database",
        settles="Jobs that a clone has inherited are named.",
    ),
)

# What `tool` sessions ask for at their start; a server refuses the connection for one it lacks.
_SESSION = tuple(
    Row(
        what=f"session setting {name}",
        statement=f"SELECT set_config('{name}', '{value}', true)",
        right="taken",
        settles="The tool's sessions ask for it when they connect, and one refusal refuses them.",
    )
    for name, value in SESSION
)

_FROM_17 = Row(
    what="session settings of 17 and later",
    statement=(
        "SELECT set_config('transaction_timeout', '0', true),"
        " CASE WHEN has_parameter_privilege('event_triggers', 'SET')"
        " THEN set_config('event_triggers', 'off', true) END"
    ),
    right="taken",
    settles="The tool's sessions send it behind the connection.",
    least_major=17,
)

_CONNECTIONS = (
    Row(
        what="a connection with all of the tool's settings",
        statement=f"options={OPTIONS}",
        right="connected",
        settles="Every connection of the tool is one of these.",
        options=(("options", OPTIONS),),
    ),
    Row(
        what="a connection that could stream changes, as this role",
        statement="replication=database",
        right="connected; a role without rds_replication is refused, and needs it not",
        settles="The words of a refusal, by which the remedy is found.",
        options=(("replication", "database"),),
        writer=True,
    ),
)

ROWS: tuple[Row, ...] = (*_PLAIN, *_STATE, *_CONNECTIONS, *_SESSION, _FROM_17)
