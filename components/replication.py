"""The clone's way from a copy to a standby that can become the writer, and back."""

from __future__ import annotations

from typing import Any

import pulumi

from bluegreen import names
from bluegreen.names import Direction
from components.parameter_groups import ParameterGroups
from components.primary import Primary
from components.seam import Seam, declare_publication, declare_slot, publishes
from components.source import Source
from components.stack import Stack
from dynamic_providers.caught_up import CaughtUp
from dynamic_providers.clone_origin import CloneOrigin
from dynamic_providers.engine_upgrade import EngineUpgrade
from dynamic_providers.replication_slot import ReplicationSlot
from dynamic_providers.sequence_values import SequenceValues
from dynamic_providers.subscription import Subscription
from dynamic_providers.switchover import Switchover
from hooks import switch_hooks


class Replication(pulumi.ComponentResource):
    """Declares the replication of the running direction only, from the writer to the standby.

    The engine makes the cutover out of the difference between two declarations: the new direction's
    slots, the switch, the new subscriptions, and at last the old direction's are deleted.
    """

    def __init__(
        self,
        stack: Stack,
        source: Source | None,
        seam: Seam,
        primary: Primary,
        groups: ParameterGroups,
    ) -> None:
        super().__init__(
            "bluegreen:index:Replication",
            "replication",
            # Not on all of `primary`: its parameters come after the clone's origin.
            opts=pulumi.ResourceOptions(depends_on=[primary.cluster, primary.writer, seam]),
        )
        self._stack, self._primary = stack, primary
        self.declared_switch: dict[str, Any] | None = None
        """What the switch is declared to be, for the command line; None where there is none."""
        origin = None
        if source is not None and stack.replicates:
            origin = self._origin(source)
        before = primary.writer if origin is None else origin
        parameters = primary.apply_parameters([primary.writer, before])
        self.upgrade = self._upgrade(groups, [before, parameters])
        if source is not None and origin is not None:
            self._replicate(source, seam, origin, self.upgrade)
        self.register_outputs({})

    def _origin(self, source: Source) -> CloneOrigin:
        stack = self._stack
        return CloneOrigin(
            "clone-origin",
            server=self._primary.server,
            source=source.server,
            databases=stack.databases,
            deployment=stack.deployment,
            slots=[
                {
                    "database": database,
                    "name": names.slot(stack.deployment, Direction.FORWARD, database),
                }
                for database in stack.databases
            ],
            roles=stack.settings.switch.model_dump(include={"roles", "spare_roles", "old_side"}),
            clone_id=self._primary.cluster.cluster_resource_id,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _upgrade(self, groups: ParameterGroups, after: list[pulumi.Resource]) -> EngineUpgrade:
        return EngineUpgrade(
            "engine-upgrade",
            server=self._primary.server,
            databases=self._stack.databases,
            engine_version=self._stack.settings.environment.engine_version,
            cluster_parameter_group=groups.cluster.name,
            instance_parameter_group=groups.instance.name,
            allow_reboot=self._allow_restart(),
            timeout_seconds=60 * self._stack.settings.environment.upgrade_timeout_minutes,
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def _allow_restart(self) -> str | None:
        """Return when the environment may be restarted; None for a clone that serves nobody."""
        settings = self._stack.settings
        standby = settings.source is not None and not settings.cutover
        return None if standby else settings.environment.allow_reboot

    def _replicate(
        self, source: Source, seam: Seam, origin: CloneOrigin, upgrade: EngineUpgrade
    ) -> None:
        stack, target = self._stack, self._primary.server
        settings = stack.settings
        switched = settings.cutover
        direction = Direction.REVERSE if switched else Direction.FORWARD
        writer, standby = (target, source.server) if switched else (source.server, target)
        after_upgrade = pulumi.ResourceOptions(parent=self, depends_on=[upgrade])
        gate = _Gate(after_upgrade)
        publications = {
            database: declare_publication(stack, target, database, Direction.REVERSE, gate)
            for database in stack.databases
        }
        slots: dict[str, ReplicationSlot] = dict(seam.slots)
        if switched and settings.rollback:
            slots = {
                database: declare_slot(
                    stack, target, database, direction, gate, [publications[database]]
                )
                for database in stack.databases
            }
        switchover = self._switchover(
            source, origin, [upgrade, *publications.values(), *slots.values()]
        )
        if switched and not settings.rollback:
            return
        subscriptions = [
            Subscription(
                f"{database}-{direction}-subscription",
                server=standby,
                publisher=writer,
                database=database,
                name=names.subscription(stack.deployment, direction),
                publication=names.publication(stack.deployment, direction),
                slot_name=names.slot(stack.deployment, direction, database),
                start_lsn=switchover.mark,
                streaming=settings.replication.streaming,
                triggers=publishes(stack, database, direction)["scope"],
                opts=pulumi.ResourceOptions(parent=self, depends_on=[switchover, slots[database]]),
            )
            for database in stack.databases
        ]
        caught_up = CaughtUp(
            "caught-up",
            publisher=writer,
            subscriber=standby,
            databases=stack.databases,
            deployment=stack.deployment,
            direction=direction,
            lag_seconds=settings.replication.lag_seconds,
            stable_seconds=settings.replication.stable_seconds,
            timeout_seconds=settings.replication.catch_up_seconds,
            opts=pulumi.ResourceOptions(parent=self, depends_on=subscriptions),
        )
        SequenceValues(
            "sequence-values",
            writer=writer,
            standby=standby,
            databases=stack.databases,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[caught_up]),
        )

    def _switchover(
        self, source: Source, origin: CloneOrigin, after: list[pulumi.Resource]
    ) -> Switchover:
        stack = self._stack
        settings = stack.settings
        dns = settings.dns
        self.declared_switch = {
            "deployment": stack.deployment,
            "source": source.server,
            "target": self._primary.server,
            "source_reader": source.reader_endpoint,
            "target_reader": self._primary.cluster.reader_endpoint,
            "databases": stack.databases,
            "writer": "target" if settings.cutover else "source",
            "rollback": settings.rollback,
            "switch": settings.switch.model_dump()
            | {"lag_seconds": settings.replication.lag_seconds},
            "dns": dns.model_dump() if dns is not None else None,
            "accept_stale": settings.replication.accept_stale,
        }
        return Switchover(
            "switchover",
            **self.declared_switch,
            start_lsn=origin.lsn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=after, hooks=switch_hooks()),
        )


class _Gate(pulumi.ComponentResource):
    """The target's half of the replication: it waits for the upgrade as one."""

    def __init__(self, opts: pulumi.ResourceOptions) -> None:
        super().__init__("bluegreen:index:TargetSeam", "target-seam", opts=opts)
        self.register_outputs({})
