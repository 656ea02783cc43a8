"""Statements that change something, each rolled back; and functions that act.

A function that acts is called for a name that nothing has: whoever may not call it is told so
before the server looks for the name.
"""

from __future__ import annotations

from bluegreen.postgres import aws_roles
from bluegreen.probe.row import Mode, Row, none_missing, true

_MISSING = "42704"
"""SQLSTATE of a slot or an origin that does not exist."""

# Roles that this one may alter only by what the service grants besides: not its own, not AWS's.
_OTHERS = (
    "FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND rolname <> current_user"
    f" AND rolname <> ALL ('{{{{{','.join(aws_roles.LOGINS)}}}}}')"
    " AND {}pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')"
)


def _no_login(*, made_by_us: bool) -> str:
    """Return the statement that takes LOGIN from the roles that this one may, or may not, grant."""
    others = _OTHERS.format("" if made_by_us else "NOT ")
    return (
        "DO $do$ DECLARE item record; tried int := 0; BEGIN"
        f" FOR item IN SELECT rolname {others} LOOP"
        " tried := tried + 1; EXECUTE format('ALTER ROLE %I NOLOGIN', item.rolname); END LOOP;"
        " IF tried = 0 THEN RAISE EXCEPTION 'none of the roles is such a one'"
        " USING ERRCODE = 'no_data_found'; END IF; END $do$"
    )


def _rolled_back(
    what: str, statement: str, settles: str, *, least_major: int = 14, last_major: int = 99
) -> Row:
    return Row(
        what=what,
        statement=statement,
        right="taken, and rolled back",
        settles=settles,
        mode=Mode.ROLLED_BACK,
        least_major=least_major,
        last_major=last_major,
        writer=True,
    )


def _call(
    what: str, statement: str, settles: str, *answers: str, mode: Mode = Mode.ROLLED_BACK
) -> Row:
    return Row(
        what=what,
        statement=statement,
        right=f"SQLSTATE {' or '.join(answers)}: it may be called, and there is none of this name",
        settles=settles,
        mode=mode,
        answers=answers,
        writer=True,
    )


_PUBLICATIONS = (
    _rolled_back(
        "publish all tables",
        "CREATE PUBLICATION bluegreen_probe FOR ALL TABLES; ALTER PUBLICATION bluegreen_probe SET"
        " (publish_via_partition_root = true);"
        ' COMMENT ON PUBLICATION bluegreen_probe IS \'{"made_by": "bluegreen"}\';'
        " DROP PUBLICATION bluegreen_probe",
        "rds_superuser may do what community PostgreSQL lets superusers only.",
    ),
    _rolled_back(
        "publish a schema",
        "CREATE SCHEMA bluegreen_probe; CREATE PUBLICATION bluegreen_probe FOR TABLES IN SCHEMA"
        " bluegreen_probe",
        "The same for whole schemas.",
        least_major=15,
    ),
    _rolled_back(
        "publish a table with columns and a filter",
        "CREATE SCHEMA bluegreen_probe; CREATE TABLE bluegreen_probe.t (n int PRIMARY KEY, m int);"
        " CREATE PUBLICATION bluegreen_probe FOR TABLE bluegreen_probe.t (n) WHERE (n > 0);"
        " ALTER PUBLICATION bluegreen_probe SET TABLE bluegreen_probe.t",
        "Publications of a choice of tables.",
        least_major=15,
    ),
    _rolled_back(
        "a table's replica identity",
        "CREATE SCHEMA bluegreen_probe; CREATE TABLE bluegreen_probe.t (n int);"
        " ALTER TABLE bluegreen_probe.t REPLICA IDENTITY FULL",
        "Identities are declared by settings.",
    ),
)

_SUBSCRIPTIONS = (
    _rolled_back(
        "make a subscription that connects to nobody",
        "CREATE SUBSCRIPTION bluegreen_probe CONNECTION 'host=localhost port=1 dbname=none"
        " user=none password=none connect_timeout=1' PUBLICATION bluegreen_probe WITH"
        " (connect = false, enabled = false, create_slot = false, slot_name = NONE)",
        "Subscriptions may be made: by pg_create_subscription from 16 on, by rds_superuser before.",
    ),
    Row(
        what="what the role has to see and end sessions, to subscribe and to replicate",
        statement=(
            "SELECT string_agg(rolname, ', ' ORDER BY rolname) FROM pg_roles"
            " WHERE rolname IN ('pg_create_subscription', 'pg_monitor', 'pg_read_all_stats',"
            " 'pg_signal_backend', 'rds_replication', 'rds_superuser')"
            " AND NOT pg_has_role(oid, 'USAGE')"
        ),
        right="none is missing",
        settles="What rds_superuser brings along, of what a switch needs.",
        judge=none_missing,
    ),
    _call(
        "advance a replication origin",
        "SELECT pg_catalog.pg_replication_origin_advance('bluegreen_probe', '0/1'::pg_lsn)",
        "A subscription starts at the clone's position, and at the mark.",
        _MISSING,
    ),
    _call(
        "read a replication origin's position by the function",
        "SELECT pg_catalog.pg_replication_origin_progress('bluegreen_probe', false)",
        "Where the view of origins is refused, a subscription's position is read by it.",
        _MISSING,
    ),
    _call(
        "drop a replication origin",
        "SELECT pg_catalog.pg_replication_origin_drop('bluegreen_probe')",
        "What a first copy has left is removed with its subscription.",
        _MISSING,
    ),
)

_SLOTS = (
    _call(
        "make a slot",
        "SELECT pg_catalog.pg_create_logical_replication_slot('bluegreen_probe!', 'pgoutput')",
        "The role may, and wal_level is logical: only then does the server mind the name.",
        "42602",
    ),
    _call(
        "drop a slot",
        "SELECT pg_catalog.pg_drop_replication_slot('bluegreen_probe')",
        "A deployment's slots are dropped.",
        _MISSING,
    ),
    _call(
        "set a slot's stamp",
        "SELECT pg_catalog.pg_stat_reset_replication_slot('bluegreen_probe')",
        "A slot that was made anew is told by it; without it that goes unseen.",
        "22023",
    ),
    _call(
        "look into a slot",
        "SELECT count(*) FROM pg_catalog.pg_logical_slot_peek_binary_changes('bluegreen_probe',"
        " NULL, NULL, 'proto_version', '1', 'publication_names', 'bluegreen_probe')",
        "What slipped in is counted there, and a transaction that can't be applied is named.",
        _MISSING,
    ),
)

_CLOSING = (
    _rolled_back(
        "close every database",
        "DO $do$ DECLARE item record; BEGIN FOR item IN SELECT datname FROM pg_database WHERE"
        " datallowconn AND NOT datistemplate AND datname NOT IN ('bluegreen', 'rdsadmin') LOOP"
        " EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', item.datname);"
        " END LOOP; END $do$",
        "The fence. A database whose owner's privileges the administrator lacks stops it.",
    ),
    _rolled_back(
        "take LOGIN from roles that this one may grant",
        _no_login(made_by_us=True),
        "The fence: applications' roles lose LOGIN.",
    ),
    _rolled_back(
        "take LOGIN from roles that this one may not grant",
        _no_login(made_by_us=False),
        "From 16 on PostgreSQL wants the ADMIN option. RDS may let more: the program tries it.",
    ),
    Row(
        what="end a session that is none",
        statement="SELECT pg_catalog.pg_terminate_backend(0) IS NOT TRUE",
        right="true; nobody is ended",
        settles="It may be called; of another role's session --write knows.",
        judge=true,
    ),
)

_DATABASE = (
    _rolled_back(
        "the tool's schema: tables, sequences, locks, its mark, ANALYZE",
        "CREATE SCHEMA bluegreen_probe;"
        ' COMMENT ON SCHEMA bluegreen_probe IS \'{"made_by": "bluegreen"}\';'
        " REVOKE ALL ON SCHEMA bluegreen_probe FROM PUBLIC;"
        " CREATE TABLE bluegreen_probe.t (n int PRIMARY KEY, at timestamptz);"
        " LOCK TABLE bluegreen_probe.t IN SHARE ROW EXCLUSIVE MODE; ANALYZE bluegreen_probe.t;"
        " CREATE INDEX ON bluegreen_probe.t (at); DROP TABLE bluegreen_probe.t",
        "The role may make a schema in this database, and owns what it makes.",
    ),
    _rolled_back(
        "definitions of what was just made",
        "CREATE SCHEMA bluegreen_probe; CREATE TABLE bluegreen_probe.t (n int CHECK (n > 0),"
        " m int DEFAULT 1) PARTITION BY RANGE (m);"
        " CREATE FUNCTION bluegreen_probe.f() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN NULL; END'; CREATE TRIGGER t AFTER INSERT ON bluegreen_probe.t"
        " FOR EACH ROW EXECUTE FUNCTION bluegreen_probe.f();"
        " CREATE STATISTICS bluegreen_probe.s ON n, m FROM bluegreen_probe.t;"
        " SELECT pg_get_constraintdef(c.oid), pg_get_expr(d.adbin, d.adrelid),"
        " pg_get_triggerdef(g.oid), pg_get_statisticsobjdef(s.oid), pg_get_partkeydef(c.conrelid)"
        " FROM pg_constraint c, pg_attrdef d, pg_trigger g, pg_statistic_ext s"
        " WHERE c.conrelid = 'bluegreen_probe.t'::regclass AND d.adrelid = c.conrelid"
        " AND g.tgrelid = c.conrelid AND s.stxrelid = c.conrelid AND c.contype = 'c'",
        "Readiness can spell these definitions.",
    ),
    _rolled_back(
        "a sequence's value, read and set",
        "CREATE SCHEMA bluegreen_probe; CREATE SEQUENCE bluegreen_probe.s;"
        " SELECT nextval('bluegreen_probe.s'), setval('bluegreen_probe.s', 7, true),"
        " pg_sequence_last_value('bluegreen_probe.s')",
        "Sequences are brought to the other side.",
    ),
    _rolled_back(
        "many sequences' values at once",
        "CREATE SCHEMA bluegreen_probe; CREATE SEQUENCE bluegreen_probe.s;"
        " SELECT last_value, is_called FROM pg_get_sequence_data('bluegreen_probe.s')",
        "The same, as 18 has it.",
        least_major=18,
    ),
    _rolled_back(
        "update an extension",
        "ALTER EXTENSION plpgsql UPDATE",
        "Extensions are updated after an upgrade; one that the role does not own is named.",
    ),
    _call(
        "roll back a prepared transaction",
        "ROLLBACK PREPARED 'bluegreen_probe'",
        "A clone's inherited ones are rolled back.",
        _MISSING,
        mode=Mode.ALONE,
    ),
    _call(
        "drop a database, whoever is connected",
        "DROP DATABASE bluegreen_probe WITH (FORCE)",
        "The tool's database goes with the deployment.",
        "3D000",
        mode=Mode.ALONE,
    ),
    Row(
        what="make databases and roles",
        statement=(
            "SELECT concat_ws(', ', CASE WHEN NOT rolcreatedb THEN 'CREATEDB' END,"
            " CASE WHEN NOT rolcreaterole THEN 'CREATEROLE' END) FROM pg_roles"
            " WHERE rolname = current_user AND NOT rolsuper"
        ),
        right="none is missing",
        settles="The tool makes a database of its own, and takes LOGIN from roles.",
        judge=none_missing,
    ),
)


ROWS: tuple[Row, ...] = (*_PUBLICATIONS, *_SUBSCRIPTIONS, *_SLOTS, *_CLOSING, *_DATABASE)
