"""Catalogs and views: each that a statement of the program reads is read once.

The program's own readers name the columns (`readers`); here is whether the role may read at all,
and whether the service has what is behind a view.
"""

from __future__ import annotations

from bluegreen.probe.row import Row

_READ = "SELECT {columns} FROM pg_catalog.{catalog} LIMIT 1"
_ANY = "any number of rows"

_REPLICATION = "The program's readers of replication work on Aurora."
_COMPARISON = "Readiness can compare both sides catalog by catalog."
_SESSIONS = "Sessions and their locks can be seen: the fence waits for them."
_CODE = "What an apply worker would run can be looked at before a clone is made."

# pg_subscription.subconninfo is a superuser's; the program reads the others, and asks for it apart.
_COLUMNS = {
    "pg_subscription": "oid, subdbid, subname, subowner, subenabled, subslotname, subpublications",
}

_CATALOGS = {
    _REPLICATION: (
        "pg_publication",
        "pg_publication_rel",
        "pg_publication_tables",
        "pg_replication_origin",
        "pg_replication_origin_status",
        "pg_replication_slots",
        "pg_stat_replication",
        "pg_stat_subscription",
        "pg_subscription",
        "pg_subscription_rel",
    ),
    _SESSIONS: ("pg_locks", "pg_prepared_xacts", "pg_stat_activity"),
    "Who is closed, and what may be altered, stands there.": (
        "pg_auth_members",
        "pg_database",
        "pg_db_role_setting",
        "pg_roles",
        "pg_settings",
    ),
    _CODE: (
        "pg_attrdef",
        "pg_attribute",
        "pg_class",
        "pg_constraint",
        "pg_depend",
        "pg_event_trigger",
        "pg_index",
        "pg_inherits",
        "pg_language",
        "pg_namespace",
        "pg_partitioned_table",
        "pg_proc",
        "pg_rewrite",
        "pg_trigger",
    ),
    _COMPARISON: (
        "pg_aggregate",
        "pg_am",
        "pg_available_extensions",
        "pg_cast",
        "pg_collation",
        "pg_conversion",
        "pg_default_acl",
        "pg_enum",
        "pg_extension",
        "pg_foreign_data_wrapper",
        "pg_foreign_server",
        "pg_largeobject_metadata",
        "pg_opclass",
        "pg_operator",
        "pg_opfamily",
        "pg_policy",
        "pg_range",
        "pg_sequence",
        "pg_statistic_ext",
        "pg_transform",
        "pg_ts_config",
        "pg_ts_dict",
        "pg_ts_parser",
        "pg_ts_template",
        "pg_type",
        "pg_user_mappings",
    ),
}


def _read(catalog: str, settles: str, *, least_major: int = 14) -> Row:
    columns = _COLUMNS.get(catalog, "*")
    return Row(
        what=f"read {catalog}",
        statement=_READ.format(columns=columns, catalog=catalog),
        right=_ANY,
        settles=settles,
        least_major=least_major,
    )


_SPECIAL = (
    _read("pg_publication_namespace", _REPLICATION, least_major=15),
    _read("pg_stat_subscription_stats", "Apply errors are counted.", least_major=15),
    _read(
        "pg_stat_replication_slots",
        "A slot's statistics tell it from another one of its name.",
    ),
    Row(
        what="read pg_stat_wal",
        statement="SELECT count(*) FROM pg_catalog.pg_stat_wal",
        right="a number; reports say that Aurora refuses it",
        settles="Nothing reads it.",
        question=True,
    ),
    Row(
        what="name pg_largeobject",
        statement="SELECT 'pg_catalog.pg_largeobject'::regclass IS NOT NULL",
        right="true; nothing reads it",
        settles="Readiness compares how many large objects there are, never what is in them.",
    ),
    Row(
        what="statistics have a start: pg_stat_bgwriter.stats_reset",
        statement="SELECT stats_reset IS NOT NULL FROM pg_catalog.pg_stat_bgwriter",
        right="a time",
        settles="The slot's stamp reads it, to know of a crash: all statistics end then.",
    ),
    Row(
        what="statistics have a start: pg_stat_database.stats_reset",
        statement="SELECT max(stats_reset) IS NOT NULL FROM pg_catalog.pg_stat_database",
        right="a time, or none before the first reset",
        settles="The same, by another view.",
        question=True,
    ),
    Row(
        what="the server's start: pg_postmaster_start_time",
        statement="SELECT pg_catalog.pg_postmaster_start_time() IS NOT NULL",
        right="a time",
        settles="The same, by the start of the server.",
        question=True,
    ),
)

ROWS: tuple[Row, ...] = (
    *(_read(catalog, settles) for settles, listed in _CATALOGS.items() for catalog in listed),
    *_SPECIAL,
)
