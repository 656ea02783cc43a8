"""What can be broken while a switch stands at a gate, and what is to be expected then."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bluegreen.names import TOOL_DATABASE
from bluegreen.switch.step import OUTAGE, Step
from lab.proxy import Proxy
from tests.chaos.gate import Orchestrator
from tests.chaos.servers import APP, DATABASES, Deployment, Part


class Fault(StrEnum):
    """The kinds."""

    NONE = "nothing"
    HOST = "host killed"
    HOST_LATE = "host killed a moment later"
    ENGINE = "engine killed"
    FUSE = "local fuse killed"
    MACHINE = "host and local fuse killed"
    EVERYTHING = "host and both fuses killed"
    OLD_CRASH = "old writer killed and restarted"
    NEW_CRASH = "new writer killed and restarted"
    HOST_AND_OLD = "host killed, old writer restarted"
    HOST_AND_NEW = "host killed, new writer restarted"
    OLD_RESET = "connections to the old writer reset"
    NEW_RESET = "connections to the new writer reset"
    PEER_RESET = "connections between the servers reset"
    OLD_HOLE = "black hole to the old writer"
    NEW_HOLE = "black hole to the new writer"
    PEER_HOLE = "black hole between the servers"
    OLD_DEAD = "connections to the old writer die silently"
    NEW_DEAD = "connections to the new writer die silently"
    BOTH_DEAD = "connections to both writers die silently"
    PEER_DEAD = "connections between the servers die silently"
    OLD_DEAF = "nothing more comes to the old writer on its connections"
    NEW_DEAF = "nothing more comes to the new writer on its connections"
    OLD_MUTE = "nothing more comes from the old writer on its connections"
    NEW_MUTE = "nothing more comes from the new writer on its connections"
    APPLY = "apply workers killed"
    STORM = "all clients thrown out"
    DNS_THROTTLED = "Route 53 throttled"
    DNS_FAILING = "Route 53 failing"
    DNS_SLOW = "Route 53 slow"


DNS = {
    Fault.DNS_THROTTLED: "throttled",
    Fault.DNS_FAILING: "failing",
    Fault.DNS_SLOW: "slow",
}

# Where the register's server was away, or the way to it: none may be open until the next switch.
MAY_STAY_CLOSED = {
    Fault.OLD_CRASH,
    Fault.NEW_CRASH,
    Fault.HOST_AND_OLD,
    Fault.HOST_AND_NEW,
    Fault.OLD_HOLE,
    Fault.NEW_HOLE,
    Fault.PEER_HOLE,
    Fault.PEER_DEAD,
}


def leaves_closed(fault: Fault, step: Step) -> bool:
    """Return whether nobody is left who could open a side before the next switch.

    Behind the decision that takes a process which reaches both sides, so no server fuse does it.
    """
    if fault is Fault.EVERYTHING:
        return step in OUTAGE and step is not Step.OPEN
    return fault is Fault.MACHINE and step is Step.DECIDE


@dataclass(slots=True)
class Stage:
    """What a fault has at hand."""

    world: Deployment
    orchestrator: Orchestrator
    chance: random.Random


def strike(fault: Fault, stage: Stage) -> None:
    """Break it, at the gate, and let the switch go on if it can."""
    _ACTS[fault](stage)


def heal(world: Deployment) -> None:
    """Make everything work again that a fault may have left broken."""
    world.aws.mode = "well"
    for part in (world.source, world.target):
        for proxy in (part.to_orchestrator, part.to_peer):
            if proxy.dark:
                proxy.heal()
            proxy.thaw()
        if part.lab.pid() is None:
            part.lab.start()


def _go(stage: Stage) -> None:
    stage.orchestrator.go()


def _host(stage: Stage) -> None:
    stage.orchestrator.kill()


def _host_late(stage: Stage) -> None:
    stage.orchestrator.go()
    # The moment is the point: anywhere within what the server is doing for the switch.
    time.sleep(stage.chance.uniform(0, 0.06))
    stage.orchestrator.kill()


def _engine(stage: Stage) -> None:
    stage.orchestrator.kill_engine()
    stage.orchestrator.go()


def _fuse(stage: Stage) -> None:
    stage.orchestrator.kill_fuse()
    stage.orchestrator.go()


def _machine(stage: Stage) -> None:
    # The fuse first: it must not act in the moment between.
    stage.orchestrator.kill_fuse()
    stage.orchestrator.kill()


def _everything(stage: Stage) -> None:
    stage.orchestrator.kill_fuse()
    with stage.world.old.connect(TOOL_DATABASE) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'bluegreen fuse'"
        )
    stage.orchestrator.kill()


def _crash(part: Part, stage: Stage) -> None:
    part.lab.kill()
    stage.orchestrator.go()
    part.lab.start()


def _host_and(part: Part, stage: Stage) -> None:
    if stage.chance.random() < 0.5:
        stage.orchestrator.kill()
        part.lab.kill()
    else:
        part.lab.kill()
        stage.orchestrator.kill()
    part.lab.start()


def _reset(proxy: Proxy, stage: Stage) -> None:
    proxy.reset()
    stage.orchestrator.go()


def _hole(proxy: Proxy, stage: Stage) -> None:
    proxy.black_hole()
    stage.orchestrator.go()
    time.sleep(stage.chance.uniform(0.3, 4.0))  # how long it lasts is the fault
    if stage.chance.random() < 0.5:
        proxy.reset()
    proxy.heal()


def _die(stage: Stage, *proxies: Proxy, to_target: bool = True, to_client: bool = True) -> None:
    """Freeze the connections that are there; new ones work."""
    for proxy in proxies:
        proxy.freeze(to_target=to_target, to_client=to_client)
    stage.orchestrator.go()


def _apply(stage: Stage) -> None:
    with stage.world.new.connect(DATABASES[0]) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type LIKE 'logical replication%worker'"
        )
    stage.orchestrator.go()


def _storm(stage: Stage) -> None:
    with stage.world.old.connect() as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (APP,)
        )
    stage.orchestrator.go()


def _dns(mode: Fault) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        stage.world.aws.mode = DNS[mode]  # type: ignore[assignment]
        stage.orchestrator.go()
        time.sleep(stage.chance.uniform(0.5, 2.0))  # how long it lasts is the fault
        stage.world.aws.mode = "well"

    return act


_ACTS: dict[Fault, Callable[[Stage], None]] = {
    Fault.NONE: _go,
    Fault.HOST: _host,
    Fault.HOST_LATE: _host_late,
    Fault.ENGINE: _engine,
    Fault.FUSE: _fuse,
    Fault.MACHINE: _machine,
    Fault.EVERYTHING: _everything,
    Fault.OLD_CRASH: lambda s: _crash(s.world.old, s),
    Fault.NEW_CRASH: lambda s: _crash(s.world.new, s),
    Fault.HOST_AND_OLD: lambda s: _host_and(s.world.old, s),
    Fault.HOST_AND_NEW: lambda s: _host_and(s.world.new, s),
    Fault.OLD_RESET: lambda s: _reset(s.world.old.to_orchestrator, s),
    Fault.NEW_RESET: lambda s: _reset(s.world.new.to_orchestrator, s),
    Fault.PEER_RESET: lambda s: _reset(s.world.old.to_peer, s),
    Fault.OLD_HOLE: lambda s: _hole(s.world.old.to_orchestrator, s),
    Fault.NEW_HOLE: lambda s: _hole(s.world.new.to_orchestrator, s),
    Fault.PEER_HOLE: lambda s: _hole(s.world.old.to_peer, s),
    Fault.OLD_DEAD: lambda s: _die(s, s.world.old.to_orchestrator),
    Fault.NEW_DEAD: lambda s: _die(s, s.world.new.to_orchestrator),
    Fault.BOTH_DEAD: lambda s: _die(s, s.world.old.to_orchestrator, s.world.new.to_orchestrator),
    Fault.PEER_DEAD: lambda s: _die(s, s.world.old.to_peer),
    Fault.OLD_DEAF: lambda s: _die(s, s.world.old.to_orchestrator, to_client=False),
    Fault.NEW_DEAF: lambda s: _die(s, s.world.new.to_orchestrator, to_client=False),
    Fault.OLD_MUTE: lambda s: _die(s, s.world.old.to_orchestrator, to_target=False),
    Fault.NEW_MUTE: lambda s: _die(s, s.world.new.to_orchestrator, to_target=False),
    Fault.APPLY: _apply,
    Fault.STORM: _storm,
    Fault.DNS_THROTTLED: _dns(Fault.DNS_THROTTLED),
    Fault.DNS_FAILING: _dns(Fault.DNS_FAILING),
    Fault.DNS_SLOW: _dns(Fault.DNS_SLOW),
}
