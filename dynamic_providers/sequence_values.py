"""`postgres:SequenceValues`: the standby's sequences follow the writer's."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Annotated, NotRequired, TypedDict, Unpack

import pulumi
from psycopg import errors
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult
from pydantic import AfterValidator

from bluegreen.errors import Retry
from bluegreen.postgres import presence
from bluegreen.replication import sequences
from dynamic_providers.inputs import UPDATES, Default, Value, properties
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import NamesInput, ServerInput
from dynamic_providers.values import Values

log = logging.getLogger(__name__)

_NAMED = 5  # so many drifted sequences are named in the state, which has to stay small
_LOCK_TIMEOUT = "60s"


def _calls(given: float) -> int:
    if given < 0 or given != int(given):
        raise ValueError(f"{given:g} calls; expected a whole number from 0 on")
    return int(given)


_Calls = Annotated[float, AfterValidator(_calls)]


class SequenceValuesInputs(TypedDict):
    """Whose sequences follow whose."""

    writer: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment whose values count, and references to its credentials."""
    standby: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that follows, and references to its credentials. Its
    databases are closed to writers."""
    databases: Annotated[NamesInput, UPDATES]
    """The databases whose sequences follow."""
    tolerance: NotRequired[Annotated[pulumi.Input[int], Value(_Calls), Default(1_000_000), UPDATES]]
    """How many calls of `nextval` the standby may be off, either way, without drift."""


class SequenceValuesProvider(Provider):
    """Copies values; the switch brings the exact ones, and this keeps its work small."""

    inputs = SequenceValuesInputs

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Drift that a refresh found, or another writer, is a difference; nothing replaces."""
        found = super().diff(_id, olds, news)
        if olds.get("drift"):
            found.changes = True
        return found

    def create(self, props: Props) -> CreateResult:
        """Copy all values now."""
        given = self.values(props)
        outputs = {"count": str(_copy(given)), "drift": ""}
        return CreateResult("/".join(sorted(given["databases"])), inputs_only(props) | outputs)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Copy all values now."""
        outputs = {"count": str(_copy(self.values(news))), "drift": ""}
        return UpdateResult(inputs_only(news) | outputs)

    def read(self, id_: str, props: Props) -> ReadResult:
        """Find drift: missing, of another definition, or off by more than the tolerance."""
        given = self.values(props)
        found: list[str] = []
        for name in given["databases"]:
            with ExitStack() as stack:
                sides = []
                for side in ("writer", "standby"):
                    conn = presence.connect_unless_gone(given[side], name)
                    if conn is None:
                        return ReadResult(None, {})
                    sides.append(stack.enter_context(conn))
                found += sequences.drift(*sides, tolerance=given["tolerance"])
        live = inputs_only(props) | {"drift": _named(found)}
        return ReadResult(id_, live, self.inputs_in(live))

    def delete(self, _id: str, _props: Props) -> None:
        """Leave the values as they are: there is nothing to undo."""


def _named(found: list[str]) -> str:
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def _copy(given: Values) -> int:
    """Copy the values of every sequence; return how many there are."""
    count = 0
    writer, standby = given["writer"], given["standby"]
    for name in given["databases"]:
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
    return count


class SequenceValues(Resource, module="postgres", name="SequenceValues"):
    """Values of all sequences; `count` says how many, `drift` names some that have drifted.

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
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[SequenceValuesInputs],
    ) -> None:
        props = properties(SequenceValuesInputs, inputs, SequenceValues)
        super().__init__(SequenceValuesProvider(), resource_name, props, opts)
