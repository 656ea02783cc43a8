"""`bluegreen:Switchover`: which environment accepts writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NotRequired, TypedDict, Unpack

import pulumi
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from bluegreen.names import TOOL_DATABASE
from bluegreen.register import closing, register
from bluegreen.switch.completion import Switched
from bluegreen.switch.declared import SOURCE, TARGET, DeclaredSwitch, How, SideName, Traffic, other
from bluegreen.switch.switchover import switch
from bluegreen.switch.timeline import render
from dynamic_providers.inputs import REPLACES, UPDATES, Value, properties
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import NamesInput, Position, ServerInput
from dynamic_providers.values import Values

log = logging.getLogger(__name__)

_OUTPUTS = ("mark", "attempt", "phases", "switched_at", "names")


class SwitchoverInputs(TypedDict):
    """Who is to be the writer, and how it is moved."""

    deployment: Annotated[pulumi.Input[str], REPLACES]
    """The deployment's name."""
    source: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the source, and references to its credentials."""
    target: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the target, and references to its credentials."""
    source_reader: Annotated[pulumi.Input[str], UPDATES]
    """Reader endpoint of the source, for the reader's record."""
    target_reader: Annotated[pulumi.Input[str], UPDATES]
    """Reader endpoint of the target, for the reader's record."""
    databases: Annotated[NamesInput, UPDATES]
    """The databases that switch together: one fence, one decision."""
    writer: Annotated[pulumi.Input[str], Value(SideName), UPDATES]
    """`source` or `target`: which of them is to accept writes. Changing it is the switch."""
    rollback: Annotated[pulumi.Input[bool], UPDATES]
    """False gives up the way back: from then on nothing is moved any more."""
    start_lsn: Annotated[pulumi.Input[str], Value(Position)]
    """The clone's LSN, the first mark."""
    switch: Annotated[pulumi.Input[Mapping[str, Any]], Value(How), UPDATES]
    """How the writer is moved: the settings `switch`, with `lag_seconds`."""
    dns: NotRequired[Annotated[pulumi.Input[Mapping[str, Any]] | None, Value(Traffic), UPDATES]]
    """The records to move at once after the opening: the settings `dns`; none moves none."""
    accept_stale: NotRequired[Annotated[pulumi.Input[Sequence[str]] | None, UPDATES]]
    """Tables that may be left behind, being replicated only in part."""


class SwitchoverProvider(Provider):
    """Moves the writer when the servers differ from the inputs; the state doesn't count."""

    inputs = SwitchoverInputs

    def create(self, props: Props) -> CreateResult:
        """Register the deployment: the source is the writer, the clone's LSN the first mark."""
        given, inputs = self.values(props), inputs_only(props)
        register.ensure_database(given[SOURCE])
        register.ensure_database(given[TARGET])
        if given["writer"] == SOURCE:
            mark = str(given["start_lsn"])
            outs = {"mark": mark, "attempt": "", "phases": {}, "switched_at": "", "names": {}}
        else:
            outs = _outputs(_switch(inputs))
        return CreateResult(f"{given['deployment']}/writer", inputs | outs)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Switch when the other side is to be the writer; otherwise only remember the settings."""
        given, inputs = self.values(news), inputs_only(news)
        kept = {key: olds.get(key) for key in _OUTPUTS}
        # In the final state the source may be gone, and nothing is to be moved any more.
        still = not given["rollback"] or (
            olds.get("writer") == given["writer"] and _settled(given, given["writer"])
        )
        if still:
            return UpdateResult(inputs | kept | _opening(given, given["writer"]))
        return UpdateResult(inputs | _outputs(_switch(inputs)))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return who accepts writes now, and since when, which a lost checkpoint may lack."""
        given, live = self.values(props), inputs_only(props)
        if given["rollback"]:  # without a way back the source may be gone
            for side in (SOURCE, TARGET):
                if _is_writer(given, side):
                    live["writer"] = side
        live |= _opening(given, live["writer"])
        return ReadResult(id_, live, self.inputs_in(live))

    def delete(self, _id: str, _props: Props) -> None:
        """Leave the writer as it is: what was closed stays closed, what is open stays open."""


def _is_writer(given: Values, side: SideName) -> bool:
    with given[side].connect(TOOL_DATABASE) as conn:
        return not closing.is_closed(conn, given["databases"])


def _opening(given: Values, writer: SideName) -> Props:
    """Return mark and attempt of the writer's opening, from its own register.

    Both the clone's LSN and the mark of a way back are positions of the source's WAL, so one that
    is older than the clone belongs to an earlier deployment. The clone forgot what it inherited.
    """
    with given[writer].connect(TOOL_DATABASE) as conn:
        found = register.last_opening(conn)
    if writer == SOURCE and (found is None or found[1] < given["start_lsn"]):
        return {"mark": str(given["start_lsn"]), "attempt": ""}
    return {} if found is None else {"mark": str(found[1]), "attempt": found[0]}


def _settled(given: Values, writer: SideName) -> bool:
    """Return whether the desired writer is open and no attempt is under way."""
    with given[other(writer)].connect(TOOL_DATABASE) as conn:
        if register.find_live(conn) is not None:
            return False
    return _is_writer(given, writer) and not _is_writer(given, other(writer))


def _switch(props: Props) -> Switched:
    done = switch(DeclaredSwitch.model_validate(props).plan(), log.info)
    if not done.repeated:
        log.info("%s", render(done.phases_ms))
    return done


def _outputs(done: Switched) -> Props:
    return {
        "mark": str(done.mark),
        "attempt": done.attempt,
        "phases": done.phases_ms,
        "switched_at": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
        "names": _names(done),
    }


def _names(done: Switched) -> dict[str, str]:
    if done.moved is None:
        return {}
    opened_at = done.moved.opened_at.isoformat(timespec="milliseconds")
    return {"change": done.moved.change, "opened_at": opened_at}


class Switchover(Resource, module="bluegreen", name="Switchover"):
    """The writer of a deployment.

    Errors:
        refused: what passes the fence, by name: prepared transactions and other blockers of the
            readiness report; a switch that somebody else has under way; both sides open.
        retry: a switch that was aborted, with the old writer open again: the other side did not
            keep up, or a server failed.
        stay fenced: a decision that is made but not carried out yet: `pulumi up` again or
            `bluegreen recover`.
    """

    mark: pulumi.Output[str]
    """The LSN at which the replication of the running direction starts."""
    attempt: pulumi.Output[str]
    """The name of the last switch in the register."""
    phases: pulumi.Output[dict[str, float]]
    """Each phase of the last switch, in milliseconds."""
    switched_at: pulumi.Output[str]
    """When the writer was moved last, UTC."""
    names: pulumi.Output[dict[str, str]]
    """The change by which that switch moved the names: `change`, its id at Route 53, and
    `opened_at`, when the writer was opened, UTC. Empty where it moved none."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[SwitchoverInputs],
    ) -> None:
        props = properties(SwitchoverInputs, inputs, Switchover)
        super().__init__(SwitchoverProvider(), resource_name, props, opts)
