"""Errors that nobody expected, as the one line that a user reads."""

from __future__ import annotations

import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from bluegreen import connection
from bluegreen.errors import BlueGreenError

FROM_OUTSIDE = (psycopg.Error, ClientError, BotoCoreError)
"""What servers and AWS raise; anything else is a fault of this program, and keeps its traceback."""

# By the class of the SQLSTATE, its first two characters; PostgreSQL's appendix A lists them.
_NEXT = {
    "08": "try again once the server can be reached",
    "22": "see which name or value there is malformed; what is read must be UTF-8 in the end",
    "25": "see which role, database or session setting makes it so",
    "28": "see pg_hba.conf and the role's LOGIN",
    "40": "try again",
    "42": "see that the role may use it, and that nobody has changed or dropped it",
    "53": "see the server's memory, disk and connections, then try again",
    "55": "try again once nothing uses it any more",
    "57": "try again once the server is up, and see what has ended or cancelled it",
    "58": "see the server's log",
    "XX": "see the server's log",
}
_ELSE = "see the server's log, and try again once the cause is mended"


def one_line(error: BaseException) -> str:
    """Return `error` as one line that holds no connection string."""
    if isinstance(error, BlueGreenError):
        return str(error)
    if isinstance(error, psycopg.Error):
        return _from_postgres(error)
    if isinstance(error, ClientError | BotoCoreError):
        return f"AWS: {' '.join(str(error).split())}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _from_postgres(error: psycopg.Error) -> str:
    state = error.sqlstate
    if state is None and isinstance(error, psycopg.OperationalError):
        state = "08000"  # libpq's own: the connection is gone
    words = "PostgreSQL: " + connection.said(error)
    if error.sqlstate:
        words += f" (SQLSTATE {error.sqlstate})"
    place = connection.where(error)
    return f"{place + ': ' if place else ''}{words}; {_NEXT.get((state or '')[:2], _ELSE)}"
