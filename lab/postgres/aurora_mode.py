"""Aurora mode: servers whose master user may do what Aurora allows, and is refused what it refuses.

In a community server only a superuser may publish all tables, so that a master user who is none
needs a library in the server (`lookalike/`), built here against the server's own headers. Where it
can't be built the master user is a superuser, which hides what Aurora would refuse. `LAB_AURORA`
chooses: `auto` (where it can be built, the default), `on` (refuses to go on without), or `off`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from lab.postgres.binaries import ALWAYS, binaries, cache_root, make_once

VARIABLE = "LAB_AURORA"
_CHOICES = ("off", "on", "auto")
_DEFAULT = "auto"

LIBRARY = "rds_lookalike"
_SOURCES = Path(__file__).with_name("lookalike")
# Who may publish, subscribe and alter roles was another question before.
_LEAST_MAJOR = 16
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120.0

ADMIN_DATABASE = "rdsadmin"
_HEARTBEAT = """\
CREATE TABLE public.rds_heartbeat (value bigint NOT NULL);
INSERT INTO public.rds_heartbeat VALUES (0)"""


class _NoBuild(Exception):
    """The library can't be had; the message says why, in a few words."""


def decide(major: int) -> bool:
    """Return whether new servers of `major` are to be in Aurora mode.

    Raises `LookupError`, one line, for a value that nobody knows, and where they are to be and
    can't.
    """
    choice = os.environ.get(VARIABLE) or _DEFAULT
    if choice not in _CHOICES:
        raise LookupError(f"{VARIABLE}={choice}: expected one of {', '.join(_CHOICES)}")
    if choice == "off":
        return False
    why = obstacle(major)
    if why is not None and choice == "on":
        raise LookupError(f"{VARIABLE}=on: {why}; {VARIABLE}=auto does without")
    return why is None


def obstacle(major: int) -> str | None:
    """Return why servers of `major` can't be in Aurora mode; None when they can."""
    try:
        _folder(major)
    except _NoBuild as error:
        return str(error)
    return None


def everywhere() -> bool:
    """Return whether all the servers of a lab are in Aurora mode; raises as `decide` does."""
    return all(decide(major) for major in ALWAYS)


def described() -> str:
    """Return the line that says whether a lab's servers are in Aurora mode, or why not."""
    if everywhere():
        return "the master user is no superuser: what Aurora refuses is refused (Aurora mode)"
    why = next((why for why in map(obstacle, ALWAYS) if why is not None), None)
    reason = why or f"{VARIABLE} is {os.environ.get(VARIABLE)}"
    return f"the master user is a superuser, which it is not on Aurora: {reason}"


def settings(major: int) -> dict[str, str]:
    """Return the server parameters that load the library."""
    return {
        "shared_preload_libraries": LIBRARY,
        "dynamic_library_path": f"{_folder(major)}:$libdir",
    }


def _folder(major: int) -> Path:
    """Return the folder of the library for `major`, built now when it is not there."""
    if major < _LEAST_MAJOR:
        raise _NoBuild(f"PostgreSQL {major} has no Aurora mode, {_LEAST_MAJOR} and newer have")
    headers = binaries(major).headers
    if headers is None:
        raise _NoBuild(f"PostgreSQL {major}: the server's headers are not installed")
    version = re.search(r'#define PG_VERSION "(.+)"', (headers / "pg_config.h").read_text())
    assert version is not None, headers
    sources = sorted(_SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in sources)).hexdigest()[:8]
    home = cache_root() / "rds-lookalike" / f"{version[1]}-{digest}"
    make_once(home, lambda fresh: _build(headers, fresh))
    return home


def _build(headers: Path, fresh: Path) -> None:
    compiler = next((one for one in _COMPILERS if shutil.which(one)), None)
    if compiler is None:
        raise _NoBuild(f"there is no C compiler on PATH ({', '.join(_COMPILERS)})")
    fresh.mkdir()
    command = [compiler, "-shared", "-fPIC", "-O1", "-I", str(headers)]
    command += ["-o", str(fresh / f"{LIBRARY}.so"), *map(str, sorted(_SOURCES.glob("*.c"))), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), "no word why")
        raise _NoBuild(f"{compiler} can't build the library: {said.strip()}")


def make_roles(conn: psycopg.Connection[Any], user: str, password: str) -> None:
    """Make the roles that RDS makes, and the master user; `conn` is rdsadmin's."""
    conn.execute((_SOURCES / "roles.sql").read_bytes())
    conn.execute(
        sql.SQL(
            "CREATE ROLE {user} LOGIN CREATEROLE CREATEDB PASSWORD {password};"
            "GRANT rds_superuser TO {user};"
            "ALTER DATABASE postgres OWNER TO {user}; ALTER DATABASE template1 OWNER TO {user}"
        ).format(user=sql.Identifier(user), password=sql.Literal(password))
    )
    conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(ADMIN_DATABASE)))


def make_heartbeat(conn: psycopg.Connection[Any]) -> None:
    """Make what rdsadmin writes its heartbeat to; `conn` is rdsadmin's in its own database."""
    conn.execute(_HEARTBEAT)


def change_catalog(conn: psycopg.Connection[Any]) -> None:
    """Change the system catalog of a database to Aurora's; `conn` is rdsadmin's in it."""
    conn.execute((_SOURCES / "catalog.sql").read_bytes())
