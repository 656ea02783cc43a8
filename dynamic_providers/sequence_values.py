"""`postgres:SequenceValues`: the standby's sequences follow the writer's."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pulumi
from psycopg import errors
from pulumi import contains_unknowns
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from bluegreen.errors import Retry
from bluegreen.postgres import presence
from bluegreen.replication import sequences
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

log = logging.getLogger(__name__)

_NAMED = 5  # drifted sequences named in the state, which has to stay small
_LOCK_TIMEOUT = "60s"
_OUTPUTS = ("count", "drift")


class SequenceValuesProvider(Provider):
    """Copies values; the switch brings the exact ones, this keeps its work small."""

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Refuse what could only fail later, or never do anything."""
        failures = []
        tolerance, databases = news.get("tolerance"), news.get("databases")
        if isinstance(tolerance, int | float) and (tolerance < 0 or tolerance != int(tolerance)):
            failures.append(
                CheckFailure("tolerance", f"{tolerance:g} calls; expected a whole number from 0 on")
            )
        if not contains_unknowns(databases) and not databases:
            failures.append(CheckFailure("databases", "none; expected at least one name"))
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """A refresh that found drift, or another writer, is a difference; nothing replaces."""
        found = explicit_diff(olds, news, updates=("writer", "standby", "databases", "tolerance"))
        if olds.get("drift"):
            found.changes = True
        return found

    def create(self, props: Props) -> CreateResult:
        """Copy all values now."""
        return CreateResult("/".join(sorted(props["databases"])), _copy(inputs_only(props)))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Copy all values now."""
        return UpdateResult(_copy(inputs_only(news)))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Look for drift: missing, of another definition, or off by more than the tolerance."""
        live = inputs_only(props)
        found: list[str] = []
        for name in live["databases"]:
            with ExitStack() as stack:
                sides = []
                for side in ("writer", "standby"):
                    server = server_of(live[side])
                    conn = presence.connect_unless_gone(server, name)
                    if conn is None:
                        return ReadResult(None, {})
                    sides.append(stack.enter_context(conn))
                found += sequences.drift(*sides, tolerance=int(live["tolerance"]))
        live["drift"] = _named(found)
        inputs = {key: value for key, value in live.items() if key not in _OUTPUTS}
        return ReadResult(id_, live, inputs)

    def delete(self, _id: str, _props: Props) -> None:
        """Leave the values where they are: whatever the servers do, nothing is to be undone."""


def _named(found: list[str]) -> str:
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def _copy(props: Props) -> Props:
    count = 0
    writer, standby = server_of(props["writer"]), server_of(props["standby"])
    for name in props["databases"]:
        with writer.connect(name) as there, standby.connect(name) as here:
            for conn in (there, here):
                conn.execute("SELECT set_config('lock_timeout', %s, false)", (_LOCK_TIMEOUT,))
            try:
                count += sequences.copy(there, here)
            except errors.LockNotAvailable:
                raise Retry(
                    f"sequences in {name}: another session has locked one for {_LOCK_TIMEOUT}, "
                    "by an ALTER SEQUENCE that it has not committed; try again after that"
                ) from None
    log.info("%d sequences of %s copied to %s", count, writer, standby)
    return props | {"count": str(count), "drift": ""}


class SequenceValues(Resource, module="postgres", name="SequenceValues"):
    """Values of all sequences; `count` says how many, `drift` names some that have drifted.

    Inputs:
        writer: Writer endpoint of the environment whose values count, and references to its
            credentials.
        standby: Writer endpoint of the environment that follows, and references to its credentials.
            Its databases are closed to writers.
        databases: The databases whose sequences follow.
        tolerance: How many calls of `nextval` the standby may be off, either way, without drift.

    Errors:
        refused: a standby that is open to writers; a sequence that the standby lacks or has of
            another definition; one that may not be read or set (named, with the GRANT); a negative
            tolerance, no database (at preview).
        retry: a sequence that is dropped or locked meanwhile; a server out of reach.
    """

    count: pulumi.Output[str]
    """How many sequences were compared, in all databases together."""
    drift: pulumi.Output[str]
    """Some of the sequences that a refresh found missing, of another definition, or far off."""

    def __init__(
        self,
        resource_name: str,
        *,
        writer: pulumi.Input[Mapping[str, Any]],
        standby: pulumi.Input[Mapping[str, Any]],
        databases: pulumi.Input[Sequence[str]],
        tolerance: pulumi.Input[int] = 1_000_000,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "writer": writer,
            "standby": standby,
            "databases": databases,
            "tolerance": tolerance,
            "count": None,
            "drift": None,
        }
        super().__init__(SequenceValuesProvider(), resource_name, props, opts)
