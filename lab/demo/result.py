"""What a run of the demo proved, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Result:
    """Figures of one run; outages in milliseconds, times in seconds."""

    engine_version: str = ""
    """The Pulumi engine's."""
    postgresql_version: str = ""
    aurora_mode: bool = False
    """Whether the servers refused what Aurora refuses, to a master user who is no superuser."""
    tls: bool = False
    """Whether the program checked its servers' certificates, for their names."""
    setup_seconds: float = 0.0
    seconds: float = 0.0
    command_seconds: list[tuple[str, float]] = field(default_factory=list)
    """The command lines in their order, and how long each took."""
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    both_writable: int = 0
    tables_different: int = 0
    cutover_outage_ms: list[float] = field(default_factory=list)
    rollback_outage_ms: list[float] = field(default_factory=list)
    worst_client_ms: list[float] = field(default_factory=list)
    closed_ms: list[float] = field(default_factory=list)
    """How long each switch had writers shut out; what an outage has besides is the way back."""
    dns_delay_seconds: float = 0.0
    """How long a change in Route 53 took until resolvers saw it."""
    sequences_checked: int = 0
    sequences_wrong: int = 0
    pgbench_adds_up: bool = False
    routine_updates_changed: int = 0
    blue_retired: bool = False
    secrets_in_state: int = 0

    def faults(self) -> list[str]:
        """Return what is wrong with this run, nothing when all is well."""
        must_be_zero = (
            "lost",
            "duplicated",
            "both_writable",
            "tables_different",
            "sequences_wrong",
            "routine_updates_changed",
            "secrets_in_state",
        )
        found = [f"{name} is {getattr(self, name)}" for name in must_be_zero if getattr(self, name)]
        must_be_true = ("blue_retired", "pgbench_adds_up", "acknowledged", "sequences_checked")
        found += [
            f"{name} is {getattr(self, name)}" for name in must_be_true if not getattr(self, name)
        ]
        if len(self.cutover_outage_ms) < 2 or not self.rollback_outage_ms:
            found.append("not every switch has a measured outage")
        return found

    def write(self, path: Path) -> None:
        """Write the figures as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")
