"""Cluster parameters as AWS describes them: what the server of that major says of its own.

Of PostgreSQL's limits some are narrower on Aurora, some values are Aurora's own, and some nobody
may change: as far as this project meets them, these are listed here. Words that a value may have
are not known, so any is taken.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

import moto.rds.models as m

from lab.postgres.binaries import available, binaries

AT_ONCE = 20  # parameters in one request, AWS's own limit

_KINDS = {"BOOLEAN": "boolean", "INTEGER": "integer", "REAL": "float"}  # others are strings

_AURORAS: dict[str, dict[str, Any]] = {
    "apg_ccm_enabled": {"DataType": "boolean", "AllowedValues": "0,1"},
    "log_statement": {"AllowedValues": "none,ddl,mod,all"},
    "max_connections": {
        "ParameterValue": "LEAST({DBInstanceClassMemory/9531392},5000)",
        "AllowedValues": "6-262143",
    },
    "max_replication_slots": {"ParameterValue": "20", "AllowedValues": "5-262143"},
    "max_wal_senders": {"ParameterValue": "10", "AllowedValues": "5-262143"},
    "max_worker_processes": {"ParameterValue": "GREATEST(${DBInstanceVCPU*2},8)"},
    "rds.force_ssl": {"DataType": "boolean", "AllowedValues": "0,1"},
    "rds.logical_replication": {
        "ApplyType": "static",
        "DataType": "boolean",
        "AllowedValues": "0,1",
        "ParameterValue": "0",
    },
    "shared_preload_libraries": {
        "DataType": "list",
        "AllowedValues": "auto_explain,pgaudit,pg_cron,pg_hint_plan,pg_prewarm,pg_stat_statements",
        "ParameterValue": "pg_stat_statements",
    },
    "track_io_timing": {"ParameterValue": "1"},
    "wal_receiver_timeout": {"ParameterValue": "30000", "AllowedValues": "0-3600000"},
    "wal_sender_timeout": {"AllowedValues": "0-3600000"},
}
_NOBODYS = frozenset(
    {
        "archive_command",
        "archive_mode",
        "data_directory",
        "fsync",
        "full_page_writes",
        "hba_file",
        "listen_addresses",
        "log_line_prefix",
        "log_timezone",
        "logging_collector",
        "port",
        "wal_level",
    }
)


@cache
def described(family: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of a family by name, with the values that they have by default."""
    major = int(re.sub(r"\D", "", family.rpartition("postgresql")[2]))
    found = binaries(min(available(), key=lambda one: abs(one - major)))
    told = subprocess.run(
        [found.tool("postgres"), "--describe-config"],
        env=found.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    known = {row[0].lower(): _of_server(row) for row in map(_columns, told.splitlines())}
    for name, ours in _AURORAS.items():
        known[name] = _parameter(name) | known.get(name, {}) | ours
    return dict(sorted(known.items()))


def _columns(line: str) -> list[str]:
    return line.split("\t")


def _of_server(row: list[str]) -> dict[str, Any]:
    name, context, _, kind, _, least, most, *_ = row
    found = _parameter(name.lower())
    found["ApplyType"] = "static" if context == "postmaster" else "dynamic"
    found["DataType"] = _KINDS.get(kind, "string")
    if kind == "BOOLEAN":
        found["AllowedValues"] = "0,1"
    elif least:
        found["AllowedValues"] = f"{least}-{most}"
    return found


def _parameter(name: str) -> dict[str, Any]:
    return {
        "ParameterName": name,
        "Source": "engine-default",
        "ApplyType": "dynamic",
        "ApplyMethod": "pending-reboot",
        "DataType": "string",
        "IsModifiable": name not in _NOBODYS,
    }


def require(family: str, values: list[Mapping[str, Any]]) -> None:
    """Raise what AWS answers to values that a group, a cluster's or an instance's, can't have."""
    if len(values) > AT_ONCE:
        raise m.InvalidParameterValue(
            f"A maximum of {AT_ONCE} parameters can be modified in a single request"
        )
    known = described(family)
    for one in values:
        name, value = one["ParameterName"], str(one.get("ParameterValue", ""))
        if name not in known:
            raise m.InvalidParameterValue(f"Could not find parameter with name: {name}")
        if not known[name]["IsModifiable"]:
            raise m.InvalidParameterValue(f"The parameter {name} cannot be modified.")
        allowed = known[name].get("AllowedValues", "")
        if not re.search(r"[{(]", value) and not _fits(known[name], value, allowed):
            raise m.InvalidParameterValue(
                f"Invalid parameter value: {value} for: {name} allowed values are: {allowed}"
            )
        if known[name]["ApplyType"] == "static" and one.get("ApplyMethod") == "immediate":
            raise m.InvalidParameterCombination(
                f"cannot use immediate apply method for static parameter {name}"
            )


def _fits(described: Mapping[str, Any], value: str, allowed: str) -> bool:
    if not allowed:
        return True
    if described["DataType"] in ("integer", "float"):
        least, most = re.fullmatch(r"(-?[^-]+(?:e-\d+)?)-(.+)", allowed).groups()  # type: ignore[union-attr]
        try:
            return float(least) <= float(value) <= float(most)
        except ValueError:
            return False
    parts = value.split(",") if described["DataType"] == "list" else [value]
    return {part.strip() for part in parts} <= set(allowed.split(","))
