"""`bluegreen:Switchover`: which environment accepts writes."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres.server import Server
from bluegreen.register import closing, register
from bluegreen.switch.declared import SOURCE, TARGET, DeclaredSwitch
from bluegreen.switch.finish import Switched
from bluegreen.switch.switchover import switch
from bluegreen.switch.timeline import render
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

log = logging.getLogger(__name__)


class SwitchoverProvider(Provider):
    """Moves the writer when wish and servers differ; looks at the servers, not the state."""

    def create(self, props: Props) -> CreateResult:
        """Register the deployment: the source is the writer, the clone's LSN the first mark."""
        wanted = inputs_only(props)
        register.ensure_database(_server(wanted, SOURCE))
        register.ensure_database(_server(wanted, TARGET))
        if wanted["writer"] == SOURCE:
            outs = {"mark": wanted["start_lsn"], "attempt": "", "phases": {}, "switched_at": ""}
        else:
            outs = _outputs(_switch(wanted))
        return CreateResult(f"{wanted['deployment']}/writer", wanted | outs)

    def update(self, id_: str, olds: Props, news: Props) -> UpdateResult:  # noqa: ARG002
        """Switch when the writer is to be the other one; else only remember the settings."""
        wanted = inputs_only(news)
        kept = {key: olds.get(key) for key in ("mark", "attempt", "phases", "switched_at")}
        # In the final state the source may be gone, and nothing is to be moved any more.
        still = not wanted["rollback"] or (
            olds.get("writer") == wanted["writer"] and _settled(wanted)
        )
        if still:
            return UpdateResult(wanted | kept | _opening(wanted, wanted["writer"]))
        return UpdateResult(wanted | _outputs(_switch(wanted)))

    def diff(self, id_: str, olds: Props, news: Props) -> DiffResult:  # noqa: ARG002
        """Compare the wishes; `olds` after a refresh says who really is the writer."""
        return explicit_diff(
            olds,
            news,
            updates=(
                "writer",
                "rollback",
                "switch",
                "dns",
                "accept_stale",
                "source",
                "target",
                "source_reader",
                "target_reader",
                "databases",
            ),
            replaces=("deployment",),
        )

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return who accepts writes now, and since when: what a lost checkpoint has not told."""
        live = inputs_only(props)
        if live["rollback"]:  # without it the source may be gone
            for side in (SOURCE, TARGET):
                if _is_writer(live, side):
                    live["writer"] = side
        live |= _opening(live, live["writer"])
        return ReadResult(id_, live, live)

    def delete(self, id_: str, props: Props) -> None:
        """Leave the writer as it is: what was closed stays closed, what is open stays open."""


def _is_writer(props: Props, side: str) -> bool:
    with _server(props, side).connect(TOOL_DATABASE) as conn:
        return not closing.is_closed(conn, props["databases"])


def _opening(props: Props, writer: str) -> Props:
    """Return mark and attempt of the writer's opening, as its own register has them.

    Both the clone's LSN and the mark of a way back are positions of the source's WAL, so one that
    is older than the clone belongs to an earlier deployment. The clone forgot what it inherited.
    """
    with _server(props, writer).connect(TOOL_DATABASE) as conn:
        found = register.last_opening(conn)
    if writer == SOURCE and (found is None or found[1] < Lsn.parse(props["start_lsn"])):
        return {"mark": props["start_lsn"], "attempt": ""}
    return {} if found is None else {"mark": str(found[1]), "attempt": found[0]}


def _settled(props: Props) -> bool:
    """Return whether the wished writer is open and no attempt is under way."""
    other = SOURCE if props["writer"] == TARGET else TARGET
    with _server(props, other).connect(TOOL_DATABASE) as conn:
        if register.find_live(conn) is not None:
            return False
    return _is_writer(props, props["writer"]) and not _is_writer(props, other)


def _server(props: Props, side: str) -> Server:
    return server_of(props[side])


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
    }


class Switchover(Resource, module="bluegreen", name="Switchover"):
    """The writer of a deployment.

    Inputs:
        deployment: The deployment's name.
        source: Writer endpoint of the source, and references to its credentials.
        target: Writer endpoint of the target, and references to its credentials.
        source_reader: Reader endpoint of the source, for the reader's record.
        target_reader: Reader endpoint of the target, for the reader's record.
        databases: The databases that switch together: one fence, one decision.
        writer: `source` or `target`: which of them is to accept writes. To change it is the switch.
        rollback: False gives the way back up: from then on nothing is moved any more.
        start_lsn: The clone's LSN, the first mark.
        switch: How the writer is moved: the settings `switch`, with `lag_seconds`.
        dns: The records to move at once after the opening: the settings `dns`; none moves none.
        accept_stale: Tables that may be left behind, being replicated only in part.

    Errors:
        refused: what the fence can't hold, by name: prepared transactions and other blockers of the
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

    def __init__(
        self,
        name: str,
        *,
        deployment: pulumi.Input[str],
        source: pulumi.Input[Any],
        target: pulumi.Input[Any],
        source_reader: pulumi.Input[str],
        target_reader: pulumi.Input[str],
        databases: pulumi.Input[Any],
        writer: pulumi.Input[str],
        rollback: pulumi.Input[bool],
        start_lsn: pulumi.Input[str],
        switch: pulumi.Input[Any],
        dns: pulumi.Input[Any] = None,
        accept_stale: pulumi.Input[Any] = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`writer` is `source` or `target`; `rollback` false gives the way back up."""
        super().__init__(
            SwitchoverProvider(),
            name,
            {
                "deployment": deployment,
                "source": source,
                "target": target,
                "source_reader": source_reader,
                "target_reader": target_reader,
                "databases": databases,
                "writer": writer,
                "rollback": rollback,
                "start_lsn": start_lsn,
                "switch": switch,
                "dns": dns,
                "accept_stale": accept_stale,
                "mark": None,
                "attempt": None,
                "phases": None,
                "switched_at": None,
            },
            opts,
        )
