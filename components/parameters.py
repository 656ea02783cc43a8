"""The cluster's parameters: what is desired of them, by the types that AWS gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from bluegreen.errors import BlueGreenError
from bluegreen.upgrade import clone_parameters, parameter_types
from bluegreen.upgrade.parameter_types import ParameterType
from components.stack import Stack

# A slot, a sender and a worker for each database in each direction, with room for others' and for
# table copies. Above Aurora's own defaults only where those are too small.
_SLOTS = 20

Group = list[aws.rds.ClusterParameterGroupParameterArgs]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The desired values by name, each one that a group of the engine's family takes."""

    region: str
    values: Mapping[str, str]
    types: Mapping[str, ParameterType]

    def static(self) -> dict[str, str]:
        """Return those that only a restart brings into force."""
        return {name: value for name, value in self.values.items() if _static(name, self.types)}

    def group(self) -> Group:
        """Return the parameters of the engine's own family."""
        return _group(self.values, self.types)

    def group_of(self, family: str) -> Group:
        """Return what a clone's group takes of them, until the clone is closed and upgraded."""
        types = _types(self.region, family)
        return _group(self._of_clone(types), types)

    def static_of(self, family: str) -> dict[str, str]:
        """Return those of a clone's group that a restart brings into force."""
        taken = self._of_clone(_types(self.region, family))
        return {name: value for name, value in taken.items() if _static(name, self.types)}

    def _of_clone(self, types: Mapping[str, ParameterType]) -> dict[str, str]:
        taken = {
            name: value
            for name, value in self.values.items()
            if parameter_types.problem(name, value, types) is None
        }
        return clone_parameters.until_closed(taken, types)


def find_parameters(stack: Stack) -> Parameters:
    """Return the stack's parameters; ends the program with one line for one that AWS refuses.

    Before anything is declared: AWS would refuse it behind the first resources. One of the user's
    that has the value it has anyway is left out, since AWS gives it back as nobody's.
    """
    environment = stack.settings.environment
    types = _types(stack.region, family_of(environment.engine_version))
    values = logical_replication(len(environment.databases))
    for name, given in sorted(environment.parameters.items()):
        value = parameter_types.spelt(given, types.get(name))
        reason = parameter_types.problem(name, value, types)
        if reason is not None:
            raise pulumi.RunError(f"bluegreen:environment.parameters.{name}: {reason}")
        if name in values or value != types[name].default:
            values[name] = value
    return Parameters(stack.region, values, types)


def _types(region: str, family: str) -> Mapping[str, ParameterType]:
    try:
        return parameter_types.inspect_all(region, family)
    except BlueGreenError as error:
        raise pulumi.RunError(str(error)) from None


def _group(values: Mapping[str, str], types: Mapping[str, ParameterType]) -> Group:
    return [
        aws.rds.ClusterParameterGroupParameterArgs(
            name=name,
            value=value,
            apply_method="pending-reboot" if _static(name, types) else "immediate",
        )
        for name, value in sorted(values.items())
    ]


def _static(name: str, types: Mapping[str, ParameterType]) -> bool:
    """Return whether a parameter takes a reboot; AWS takes `immediate` for dynamic ones only."""
    return name not in types or types[name].static


def family_of(engine_version: str) -> str:
    """Return the parameter group family of an engine version."""
    return f"aurora-postgresql{engine_version.partition('.')[0]}"


def logical_replication(databases: int) -> dict[str, str]:
    """Return the parameters that a deployment of so many databases needs.

    The sizes follow AWS's guide for logical replication on Aurora: workers for all subscriptions
    and as many for parallel apply, and background workers for these beside autovacuum's and
    parallel queries'.
    """
    slots = max(_SLOTS, 4 * databases)
    workers = max(16, 4 * databases)
    return {
        "rds.logical_replication": "1",
        "max_replication_slots": str(slots),
        "max_wal_senders": str(slots),
        "max_logical_replication_workers": str(workers),
        "max_worker_processes": str(workers + 16),
    }
