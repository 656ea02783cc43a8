"""Who the workload's sessions are, and which databases they open."""

from __future__ import annotations

from dataclasses import dataclass, field

APP_DATABASE = "app"
BENCH_DATABASE = "bench"


@dataclass(frozen=True, slots=True)
class Login:
    """A role and its password."""

    user: str
    password: str = field(repr=False)
