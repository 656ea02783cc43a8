"""Sessions of others that a fence would not stop, or would wait for."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bluegreen.polling import poll_until
from bluegreen.postgres.queries import Connection, column

# How long a login may take before it counts as one that does not end.
_LOGIN_SECONDS = 1.0

# Every session of the tool has its name.
_OF_OUR_ROLES = """\
SELECT format('%%s as %%s in %%s (pid %%s)',
              coalesce(nullif(application_name, ''), 'unnamed'), usename, datname, pid)
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND usename = ANY (%s) AND datname = ANY (%s)
   AND application_name !~ '^bluegreen( |$)'
 ORDER BY 1"""
# Workers of extensions, such as a scheduler's, run as some role too.
_SUPERUSERS = """\
SELECT DISTINCT format('%s in %s', a.usename, a.datname)
  FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
 WHERE a.backend_type !~ '^(parallel worker|autovacuum|logical replication|walsender)'
   AND r.rolsuper AND a.usename <> 'rdsadmin' AND a.datname IS NOT NULL
   AND current_setting('is_superuser') = 'off'
 ORDER BY 1"""
# Up to 17 no view shows an unfinished login; in 18 it shows without a user.
_LOGGING_IN = """\
SELECT l.pid FROM pg_locks l
 WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid
        AND (a.usesysid IS NOT NULL OR a.backend_type <> 'client backend'))
 ORDER BY 1"""


def of_our_roles(conn: Connection, roles: Sequence[str], databases: Sequence[str]) -> list[str]:
    """Return the sessions as one of the tool's roles that are not the tool's."""
    return column(conn, _OF_OUR_ROLES, list(roles), list(databases))


def of_superusers(conn: Connection) -> list[str]:
    """Return the sessions that only a superuser may end, if the administrator is none."""
    return column(conn, _SUPERUSERS)


def logging_in(conn: Connection) -> list[str]:
    """Return the logins that do not end, by process id; takes a second when there are any.

    A client that stops in the middle of its login stays until `authentication_timeout`.
    """
    found = set(column(conn, _LOGGING_IN))
    deadline = time.monotonic() + _LOGIN_SECONDS
    for _ in poll_until(deadline, first=0.05, most=0.2):
        if not found:
            break
        found &= set(column(conn, _LOGGING_IN))
    return [f"pid {pid}" for pid in sorted(found)]
