"""`postgres:SequenceValues`: the standby's sequences follow the writer's."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen import sequences
from bluegreen.server import Server
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

log = logging.getLogger(__name__)

_NAMED = 5  # drifted sequences named in the state, which has to stay small


class SequenceValuesProvider(Provider):
    """Copies values; the switch brings the exact ones, this keeps its work small."""

    def create(self, props: Props) -> CreateResult:
        """Copy all values now."""
        outs = _copy(inputs_only(props))
        return CreateResult("/".join(sorted(props["databases"])), outs)

    def update(self, id_: str, olds: Props, news: Props) -> UpdateResult:  # noqa: ARG002
        """Copy all values now."""
        return UpdateResult(_copy(inputs_only(news)))

    def diff(self, id_: str, olds: Props, news: Props) -> DiffResult:  # noqa: ARG002
        """A refresh that found drift, or another writer, is a difference."""
        found = explicit_diff(
            olds, news, updates=("writer", "standby", "databases", "tolerance"), replaces=()
        )
        if olds.get("drift"):
            found.changes = True
        return found

    def read(self, id_: str, props: Props) -> ReadResult:
        """Look for drift: missing, of another definition, or behind by more than the tolerance."""
        live = inputs_only(props)
        found: list[str] = []
        with ExitStack() as stack:
            for name in live["databases"]:
                writer, standby = (
                    stack.enter_context(Server.from_props(live[side]).connect(name))
                    for side in ("writer", "standby")
                )
                found += sequences.drift(writer, standby, tolerance=int(live["tolerance"]))
        live["drift"] = ", ".join(found[:_NAMED])
        inputs = {key: value for key, value in live.items() if key not in ("drift", "count")}
        return ReadResult(id_, live, inputs)

    def delete(self, id_: str, props: Props) -> None:
        """Leave the values where they are."""


def _copy(props: Props) -> Props:
    count = 0
    writer, standby = Server.from_props(props["writer"]), Server.from_props(props["standby"])
    for name in props["databases"]:
        with writer.connect(name) as there, standby.connect(name) as here:
            count += sequences.copy(there, here)
    log.info("%d sequences of %s copied to %s", count, writer, standby)
    return props | {"count": str(count), "drift": ""}


class SequenceValues(Resource, module="postgres", name="SequenceValues"):
    """Values of all sequences; `count` says how many, `drift` names some that have drifted.

    Inputs:
        writer: Writer endpoint of the environment whose values count, and references to its
            credentials.
        standby: Writer endpoint of the environment that follows, and references to its credentials.
        databases: The databases whose sequences follow.
        tolerance: How many calls of `nextval` the standby may be behind without drift.

    Errors:
        refused: a sequence that the standby lacks or has of another definition; one that may not be
            read or set (named, with the GRANT).
        retry: a server out of reach.
    """

    count: pulumi.Output[str]
    """How many sequences were compared, in all databases together."""
    drift: pulumi.Output[str]
    """Some of the sequences that a refresh found missing, of another definition, or behind."""

    def __init__(
        self,
        name: str,
        *,
        writer: pulumi.Input[Any],
        standby: pulumi.Input[Any],
        databases: pulumi.Input[Any],
        tolerance: pulumi.Input[int] = 1_000_000,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`tolerance`: how many calls of `nextval` the standby may be behind without drift."""
        super().__init__(
            SequenceValuesProvider(),
            name,
            {
                "writer": writer,
                "standby": standby,
                "databases": databases,
                "tolerance": tolerance,
                "count": None,
                "drift": None,
            },
            opts,
        )
