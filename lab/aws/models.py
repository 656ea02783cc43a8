"""A cluster and an instance, as AWS describes them."""

from __future__ import annotations

from typing import Any

import moto.rds.models as m

from lab.aws.passing import Passing
from lab.aws.servers import WIRE

# How long a cluster shows that it is modified, or that somebody takes a snapshot of it: it serves
# clients all the while.
MODIFYING_SECONDS, BACKING_UP_SECONDS = 0.3, 8.0

# How long an instance is being made, or gets its monitoring.
_CREATING_SECONDS, _MONITORING_SECONDS = 0.1, 0.2

IN_SYNC, PENDING_REBOOT = "in-sync", "pending-reboot"


class AuroraCluster(m.DBCluster):  # type: ignore[misc]
    """A cluster whose status and endpoints follow its server."""

    __module__ = "moto.rds.models"  # moto reads the service's name off the module

    clone_group_id: str | None = None
    pending_modified_values: dict[str, Any] | None = None
    outcome = ""
    """What has become of it, where it is to turn out bad."""
    group_comes_later = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._passing = Passing()
        super().__init__(*args, **kwargs)

    @property
    def status(self) -> str:
        """Return what goes on: moto knows only two states."""
        return self.outcome or WIRE.status(self.arn) or self._passing.look() or "available"

    @status.setter
    def status(self, value: str) -> None:
        self._status = value

    def show(self, status: str, seconds: float) -> None:
        """Show a status in which clients are served."""
        self._passing.show((status, seconds))

    @property
    def scaling_configuration_info(self) -> dict[str, Any] | None:
        """Return nothing for provisioned clusters: `{}` would be an eternal diff."""
        return super().scaling_configuration_info if self.scaling_configuration else None

    @property
    def db_cluster_members(self) -> list[dict[str, Any]]:
        """Return the instances, each with the state of the cluster's parameter group."""
        return [
            member
            | {
                "DBClusterParameterGroupStatus": self.backend.databases[
                    member["DBInstanceIdentifier"]
                ].group_status
            }
            for member in super().db_cluster_members
        ]

    @property
    def names(self) -> list[str]:
        """Return what a certificate of the cluster is for: its endpoints, and its instances'."""
        instances = f"*.{self.url_identifier}.{self.region}.rds.amazonaws.com"
        return [self.endpoint, self.reader_endpoint, instances]

    def values(self) -> dict[str, str]:
        """Return the values of the cluster's parameter group."""
        group = self.backend.db_cluster_parameter_groups.get(self.parameter_group)
        found = group.parameters.items() if group else ()
        return {name: str(value["ParameterValue"]) for name, value in found}


class AuroraInstance(m.DBInstanceClustered):  # type: ignore[misc]
    """An instance; all of a cluster share its one server.

    moto calls the first of a cluster its writer, a secondary Region's as well. AWS's console calls
    that a reader; what IsClusterWriter says of it was not seen, so it is left as moto has it.
    """

    __module__ = "moto.rds.models"

    group_status = IN_SYNC
    outcome = ""
    monitoring_interval: int
    _status = "available"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._passing = Passing()
        super().__init__(*args, **kwargs)

    @property
    def status(self) -> str:
        """Return what goes on with it or with its cluster, in AWS's words."""
        ofs = WIRE.status(self.cluster.arn) if self._status == "available" else None
        if ofs in ("creating", "upgrading"):
            return ofs
        return self._passing.look() or self.outcome or self._status

    @status.setter
    def status(self, value: str) -> None:
        self._status = value

    def show_new(self) -> None:
        """Show that it is being made, and gets its monitoring."""
        more = self._monitoring() if self.monitoring_interval else ()
        self._passing.show(("creating", _CREATING_SECONDS), *more)

    def show_changed(self, *, monitoring: bool) -> None:
        """Show that it is being modified, or gets its monitoring."""
        more = self._monitoring() if monitoring else ()
        self._passing.show(("modifying", MODIFYING_SECONDS), *more)

    def _monitoring(self) -> tuple[tuple[str, float], ...]:
        return (("configuring-enhanced-monitoring", _MONITORING_SECONDS),)

    @property
    def dbi_resource_id(self) -> str:
        """Return an id of the instance's own; moto has one constant for all."""
        return f"db-{self.arn.encode().hex().upper()[-26:]}"

    @dbi_resource_id.setter
    def dbi_resource_id(self, value: str) -> None:
        """Take moto's constant and forget it."""

    @property
    def address(self) -> str:
        """Return a name below the cluster's own, as AWS does."""
        name, zone = self.db_instance_identifier, self.cluster.url_identifier
        return f"{name}.{zone}.{self.region}.rds.amazonaws.com"

    @property
    def endpoint(self) -> dict[str, Any]:
        """Return the instance's endpoint on the cluster's port."""
        zone = self.cluster.hosted_zone_id
        return {"Address": self.address, "Port": self.cluster.port, "HostedZoneId": zone}
