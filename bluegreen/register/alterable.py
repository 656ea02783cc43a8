"""What the administrator may alter: tried on the server, and undone.

The fence sets a default on every database and takes LOGIN from roles. Who may do that is not to be
read in the catalogs: AWS lets `rds_superuser` do more than community PostgreSQL lets its roles do,
and keeps other things for itself, differently from version to version. So each is done in a
subtransaction that ends with an error, and nobody else ever sees it. Where the database lacks the
language for that, which others name as a blocker, each is a transaction that is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import errors, sql

from bluegreen.postgres.connection import said
from bluegreen.postgres.queries import Connection, column, value
from bluegreen.postgres.remedies import quoted

# One that is gone by now tells nothing.
_TRY = """\
DO $do$
DECLARE
    item text;
    denied jsonb := '{{}}';
    said text;
BEGIN
    PERFORM set_config('lock_timeout', {patience}, true);
    FOR item IN {items} LOOP
        BEGIN
            EXECUTE format({statement}, item);
            RAISE EXCEPTION 'undone' USING ERRCODE = 'BG001';
        EXCEPTION
            WHEN SQLSTATE 'BG001' OR undefined_object OR invalid_catalog_name THEN
                NULL;
            WHEN lock_not_available OR internal_error OR read_only_sql_transaction THEN
                RAISE;  -- a reader, or somebody else's alteration that was quicker
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS said = MESSAGE_TEXT;
                denied := denied || jsonb_build_object(item, said);
        END;
    END LOOP;
    PERFORM set_config('bluegreen.denied', denied::text, false);
END $do$"""
_DENIED = "SELECT current_setting('bluegreen.denied')"
_PATIENCE = "5s"
_LANGUAGE = "plpgsql"

# Those that bluegreen.close_databases closes; the tool's own is not there before a first `up`.
_DATABASES = sql.SQL(
    "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate"
    " AND datname NOT IN ('bluegreen', 'rdsadmin') ORDER BY 1"
).format()
_OWNERS = "SELECT datname::text, pg_get_userbyid(datdba)::text FROM pg_database"


@dataclass(frozen=True, slots=True)
class DeniedDatabase:
    """A database that the administrator can't alter, and whose it is."""

    name: str
    owner: str

    def __str__(self) -> str:
        return f"{self.name} of {self.owner}"

    def remedy(self, administrator: str) -> str:
        """Return the two statements of which either lets the administrator alter it."""
        owner, role = quoted(self.owner), quoted(administrator)
        return f"GRANT {owner} TO {role}, or ALTER DATABASE {quoted(self.name)} OWNER TO {role}"


def denied_roles(conn: Connection, roles: Collection[str]) -> Mapping[str, str]:
    """Return which of `roles` can't lose LOGIN by this administrator, each with the server's words.

    Raises psycopg's `LockNotAvailable` while somebody else is altering one of them.
    """
    if not roles:
        return {}
    items = sql.SQL("SELECT unnest({}::text[])").format(sql.Literal(sorted(roles)))
    return _denied(conn, items, "ALTER ROLE %I NOLOGIN")


def denied_databases(conn: Connection) -> list[DeniedDatabase]:
    """Return the databases that this administrator can't close.

    Raises psycopg's `LockNotAvailable` while somebody else is altering one of them.
    """
    denied = _denied(conn, _DATABASES, "ALTER DATABASE %I SET default_transaction_read_only = on")
    owners = dict(conn.execute(_OWNERS).fetchall()) if denied else {}
    return [DeniedDatabase(name, owners.get(name, "nobody")) for name in denied]


def _denied(conn: Connection, items: sql.Composed, statement: LiteralString) -> Mapping[str, str]:
    try:
        with conn.transaction():
            conn.execute(
                sql.SQL(_TRY).format(
                    items=items, statement=sql.Literal(statement), patience=sql.Literal(_PATIENCE)
                )
            )
    except (errors.UndefinedObject, errors.InsufficientPrivilege) as error:
        if _LANGUAGE not in said(error):
            raise
        return _one_by_one(conn, items, statement)
    found: Mapping[str, str] = json.loads(value(conn, _DENIED))
    return dict(sorted(found.items()))


def _one_by_one(
    conn: Connection, items: sql.Composed, statement: LiteralString
) -> Mapping[str, str]:
    found = {}
    for item in sorted(column(conn, items)):
        try:
            with conn.transaction(force_rollback=True):
                conn.execute("SELECT set_config('lock_timeout', %s, true)", (_PATIENCE,))
                conn.execute(sql.SQL(statement.replace("%I", "{}")).format(sql.Identifier(item)))
        except (errors.UndefinedObject, errors.InvalidCatalogName):
            continue
        except (errors.LockNotAvailable, errors.InternalError_, errors.ReadOnlySqlTransaction):
            raise
        except psycopg.Error as error:
            found[item] = said(error)
    return found
