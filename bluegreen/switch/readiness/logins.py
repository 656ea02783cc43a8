"""Applications' logins: does the new side take the passwords that they have now?

Roles come with the clone, with the password of that moment, and nothing replicates another one; nor
may anybody read it on Aurora, so that all that can be done is to log in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import conninfo

from bluegreen.errors import BlueGreenError
from bluegreen.finding import Finding, Level
from bluegreen.postgres.server import Server, secret_login

# What a server says behind a password that was right: of a role that is closed, above all.
_RIGHT = (
    "is not permitted to log in",
    "permission denied for database",
    "too many connections for role",
)
_WRONG = "password authentication failed"


@dataclass(frozen=True, slots=True)
class Login:
    """One secret, tried on a server."""

    arn: str
    said: str | None
    """Why nobody came in, without the secret's user; None for a session."""


def findings(server: Server, database: str, arns: Iterable[str]) -> list[Finding]:
    """Try each secret on the server, and judge."""
    return [judge(server, inspect(server, database, arn)) for arn in arns]


def inspect(server: Server, database: str, arn: str) -> Login:
    """Log in with the user and the password of a secret, and leave."""
    try:
        user, password = secret_login(arn, server.region)
        text = conninfo.make_conninfo(
            server.conninfo(database, "admin", application_name="bluegreen login check"),
            user=user,
            password=password,
        )
    except BlueGreenError as error:
        return Login(arn, str(error))
    try:
        psycopg.connect(text).close()
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split())
        return Login(arn, said.replace(f'"{user}"', "its user"))
    return Login(arn, None)


def judge(server: Server, login: Login) -> Finding:
    """Judge one login: a role that may not log in yet has shown its password all the same."""
    subject = f"login check on {server}"
    said = login.said
    if said is None or any(words in said for words in _RIGHT):
        return Finding(Level.OK, subject, f"secret {login.arn}: user and password are right")
    if _WRONG in said:
        return Finding(
            Level.BLOCK,
            subject,
            f"secret {login.arn}: user or password is wrong there",
            "the secret was rotated since the clone was made: ALTER ROLE ... PASSWORD there too",
        )
    return Finding(Level.BLOCK, subject, f"secret {login.arn}: can't be tried: {said}")
