"""A subscription's connection to its publisher: its text, its live value, and keeping it secret.

The text holds the replication role's password, which the catalog stores in clear. It is built when
it is needed, executed where no log records it, and never part of an error.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

import psycopg
from psycopg import conninfo, errors, sql

from bluegreen.errors import Refused, Retry
from bluegreen.postgres import queries, remedies, subscriptions
from bluegreen.postgres.server import TCP, Server

log = logging.getLogger(__name__)

# Port 1 of the subscriber's own loopback: refused at once.
_NOWHERE = "host=localhost port=1 dbname=none user=none password=none connect_timeout=1"

_TRIAL = "bluegreen_trial"
_WRONG_PASSWORD = ("password authentication failed", "authentication failed for user")
# SQLSTATE 08000 and 08006; psycopg's classes for them don't know each other.
_UNCONNECTED = (errors.ConnectionException, errors.ConnectionFailure)
# libpq's and OpenSSL's words: "root certificate file ... does not exist", "certificate verify
# failed", "server certificate for ... does not match host name", "server does not support SSL".
_TLS = ("certificate", "SSL")

_TRUSTED = "SELECT pg_catalog.current_setting('ssl_ca_file', true)"

_ADDRESS = ("host", "port", "dbname")

# Settings that could log a statement; those of modules that aren't loaded can be set too.
_SILENCED = (
    ("log_statement", "none"),
    ("log_min_error_statement", "panic"),
    ("log_min_duration_statement", "-1"),
    ("log_min_duration_sample", "-1"),
    ("log_transaction_sample_rate", "0"),
    ("pgaudit.log", "none"),
    ("pg_stat_statements.track_utility", "off"),
)
# Whether a setting, left as it is, would log a statement that makes a subscription.
_WRITES = """
SELECT CASE %(name)s
       WHEN 'log_statement' THEN value IN ('ddl', 'mod', 'all')
       WHEN 'log_min_error_statement' THEN value NOT IN ('fatal', 'panic')
       WHEN 'log_transaction_sample_rate' THEN value <> '0'
       WHEN 'pgaudit.log' THEN value ~* '(ddl|all|misc)'
       ELSE value NOT IN ('-1', 'off', 'none') END, value
  FROM pg_catalog.current_setting(%(name)s, true) AS value
 WHERE value IS NOT NULL
"""


def text(subscriber: psycopg.Connection[Any], publisher: Server, name: str) -> str:
    """Return the connection string of subscription `name`; it holds the password.

    It subscribes to the database of the same name, and trusts the certificates that the
    subscriber's server trusts itself: Aurora has AWS's own at `ssl_ca_file`.
    """
    trusted = queries.value(subscriber, _TRUSTED) or None
    return publisher.subscription_conninfo(subscriber.info.dbname, name, ca_file=trusted)


def agrees(conn: psycopg.Connection[Any], name: str, text: str) -> bool | None:
    """Return whether the subscription's connection says what `text` says.

    None when this role may not read it, as without superuser rights. A connection that does not set
    TCP's timeouts doesn't differ by that: earlier releases set none.
    """
    have, desired = _read(conn, name), conninfo.conninfo_to_dict(text)
    return (
        None
        if have is None
        else {key: desired[key] for key in TCP if key in desired} | have == desired
    )


def other_address(conn: psycopg.Connection[Any], name: str, text: str) -> str | None:
    """Return in words how the subscription's address differs, None if it doesn't.

    None as well when this role may not read it.
    """
    have, desired = _read(conn, name), conninfo.conninfo_to_dict(text)
    if have is None:
        return None
    found = [
        f"{key} {have.get(key)!s}, expected {desired.get(key)!s}"
        for key in _ADDRESS
        if str(have.get(key)) != str(desired.get(key))
    ]
    return f"connects to {'; '.join(found)}" if found else None


def _read(conn: psycopg.Connection[Any], name: str) -> dict[str, Any] | None:
    try:
        text = subscriptions.conninfo(conn, name)
    except errors.InsufficientPrivilege:
        return None
    return {} if text is None else dict(conninfo.conninfo_to_dict(text))


def try_login(publisher: Server, database: str) -> None:
    """Open and close a replication connection, as the subscription's worker will.

    A worker's own failure shows in its server's log only. Raises `Refused` or `Retry` with the
    publisher's message: a wrong password, no right to replicate, no free sender.
    """
    publisher.try_replication(database)


def try_from_subscriber(conn: psycopg.Connection[Any], text: str, name: str) -> None:
    """Let the subscriber's server connect as `text` says, with a password that is none.

    To be told it is wrong proves the way, the certificates and the publisher's name; so a statement
    with the real one does not fail, and stand in the server's log, for any of these. What is made
    for it is rolled back. Raises `Refused` for TLS, `Retry` for a publisher that is out of reach.
    """
    none = conninfo.make_conninfo(text, password=secrets.token_hex(16))
    statement = sql.SQL(
        "CREATE SUBSCRIPTION {name} CONNECTION {text} PUBLICATION {name} WITH (connect = true,"
        " create_slot = false, slot_name = NONE, copy_data = false, enabled = false)"
    ).format(name=sql.Identifier(_TRIAL), text=sql.Literal(none))
    what = f"subscription {name}"
    try:
        with remedies.explained(conn, what), conn.transaction(force_rollback=True):
            conn.execute(statement)
    except _UNCONNECTED as error:
        said = _primary(error)
        if not any(words in said for words in _WRONG_PASSWORD):
            raise _unconnected(what, said) from None


def _unconnected(what: str, said: str) -> Refused | Retry:
    """Return the error of a server that can't connect to its publisher."""
    if any(words in said for words in _TLS):
        return Refused(
            f"{what}: its server can't connect by TLS: {said}; set"
            " credentials.subscription_ca_file to the certificates on that server's host, or"
            " credentials.subscription_tls to require, which does not check who answers"
        )
    return Retry(
        f"{what}: the server can't reach its publisher: {said}; check that the "
        "clusters' security groups let each other in, and the replication secret"
    )


def set_text(conn: psycopg.Connection[Any], name: str, text: str) -> None:
    """Alter the connection; a running worker restarts with it by itself."""
    statement = sql.SQL("ALTER SUBSCRIPTION {} CONNECTION {}")
    execute_secret(conn, statement.format(sql.Identifier(name), sql.Literal(text)), name)
    log.info("subscription %s: connection set", name)


def lead_nowhere(conn: psycopg.Connection[Any], name: str) -> None:
    """Cut the subscription off from its publisher, so that a drop can't call there."""
    statement = sql.SQL("ALTER SUBSCRIPTION {} CONNECTION {}")
    conn.execute(statement.format(sql.Identifier(name), sql.Literal(_NOWHERE)))


def execute_secret(conn: psycopg.Connection[Any], statement: sql.Composed, name: str) -> None:
    """Run a statement that holds the password; no log or error of ours shows its text."""
    _keep_out_of_server_log(conn)
    what = f"subscription {name}"
    try:
        with remedies.explained(conn, what):
            conn.execute(statement)
    except _UNCONNECTED as error:
        raise _unconnected(what, _primary(error)) from None
    except errors.UndefinedTable as error:
        raise Refused(
            f"{what}: {_primary(error)}; create that table on the subscriber first"
        ) from None
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise Refused(f"{what}: {_primary(error)}; give the subscriber's writer endpoint") from None
    finally:
        if not conn.broken:
            # Until its next statement a session shows the last one in pg_stat_activity.
            conn.execute("SELECT 1")


def _primary(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or "no reason given").split())


def _keep_out_of_server_log(conn: psycopg.Connection[Any]) -> None:
    """Stop this session's statements from being logged, where the role may do so.

    Where it may not, and the server would log them, a warning says so: the log then holds the
    password.
    """
    loud = []
    for parameter, value in _SILENCED:
        try:
            conn.execute("SELECT set_config(%s, %s, false)", (parameter, value))
        except errors.InsufficientPrivilege:
            row = conn.execute(_WRITES, {"name": parameter}).fetchone()
            if row is not None and row[0]:
                loud.append(f"{parameter} = {row[1]}")
    if loud:
        log.warning(
            "%s: this role may not silence the server's log, which takes the replication password "
            "in clear (%s); let a superuser GRANT SET ON PARAMETER on these to it (from 15 on), or "
            "rotate the secret afterwards",
            conn.info.host,
            ", ".join(loud),
        )
