"""Blue/green deployments of Aurora PostgreSQL: every SQL statement and every AWS call lives here.

It knows nothing of Pulumi: functions take connections and frozen dataclasses, and return the same.

The names below are for other programs; everything else in the modules may change at any time.
`switch_writer` moves the writer, `check_readiness` reports whether it could be moved, and
`find_recovery` and `apply_recovery` resolve a switch that was interrupted. `StackOutputs` has the
`DeclaredSwitch` of a stack, which makes the `SwitchPlan` and the `Question` that they take.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bluegreen.errors import (
        BlueGreenError,
        CloneAgain,
        Refused,
        Retry,
        StayFenced,
        Unreachable,
    )
    from bluegreen.finding import Finding, Level
    from bluegreen.lsn import Lsn
    from bluegreen.postgres.server import Credentials, Server
    from bluegreen.stack_outputs import StackOutputs
    from bluegreen.switch.completion import Switched
    from bluegreen.switch.declared import DeclaredSwitch
    from bluegreen.switch.plan import SwitchPlan
    from bluegreen.switch.readiness.report import Question
    from bluegreen.switch.readiness.report import check as check_readiness
    from bluegreen.switch.recovery import Recovery, Verdict
    from bluegreen.switch.recovery import apply as apply_recovery
    from bluegreen.switch.recovery import find as find_recovery
    from bluegreen.switch.switchover import switch as switch_writer

__version__ = "0.1.0"

__all__ = [
    "BlueGreenError",
    "CloneAgain",
    "Credentials",
    "DeclaredSwitch",
    "Finding",
    "Level",
    "Lsn",
    "Question",
    "Recovery",
    "Refused",
    "Retry",
    "Server",
    "StackOutputs",
    "StayFenced",
    "SwitchPlan",
    "Switched",
    "Unreachable",
    "Verdict",
    "__version__",
    "apply_recovery",
    "check_readiness",
    "find_recovery",
    "switch_writer",
]

# Where each name is defined. It is imported at its first use: boto3, psycopg and pydantic take more
# than a second, and every dynamic provider imports this package.
_HOMES = {
    "BlueGreenError": "bluegreen.errors:BlueGreenError",
    "CloneAgain": "bluegreen.errors:CloneAgain",
    "Credentials": "bluegreen.postgres.server:Credentials",
    "DeclaredSwitch": "bluegreen.switch.declared:DeclaredSwitch",
    "Finding": "bluegreen.finding:Finding",
    "Level": "bluegreen.finding:Level",
    "Lsn": "bluegreen.lsn:Lsn",
    "Question": "bluegreen.switch.readiness.report:Question",
    "Recovery": "bluegreen.switch.recovery:Recovery",
    "Refused": "bluegreen.errors:Refused",
    "Retry": "bluegreen.errors:Retry",
    "Server": "bluegreen.postgres.server:Server",
    "StackOutputs": "bluegreen.stack_outputs:StackOutputs",
    "StayFenced": "bluegreen.errors:StayFenced",
    "SwitchPlan": "bluegreen.switch.plan:SwitchPlan",
    "Switched": "bluegreen.switch.completion:Switched",
    "Unreachable": "bluegreen.errors:Unreachable",
    "Verdict": "bluegreen.switch.recovery:Verdict",
    "apply_recovery": "bluegreen.switch.recovery:apply",
    "check_readiness": "bluegreen.switch.readiness.report:check",
    "find_recovery": "bluegreen.switch.recovery:find",
    # Not `switch`: that is the package.
    "switch_writer": "bluegreen.switch.switchover:switch",
}

# A type checker that saw this function would accept every name as a public one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Return a public name, imported at its first use."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, attribute = _HOMES[name].partition(":")
        globals()[name] = found = getattr(import_module(module), attribute)
        return found
