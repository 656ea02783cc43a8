"""Clusters and instances: corrected, and wired to servers.

On Aurora no endpoint of a cluster answers before it has an instance; here the server starts with
the cluster.
"""

from __future__ import annotations

import re
from typing import Any

import moto.rds.models as m

from lab.aws import keys, membership, parameters
from lab.aws.arguments import require_class, require_identifier, require_password
from lab.aws.errors import RdsError
from lab.aws.families import require_family
from lab.aws.faults import FAULTS, GROUP_COMES_LATER
from lab.aws.models import (
    BACKING_UP_SECONDS,
    IN_SYNC,
    MODIFYING_SECONDS,
    PENDING_REBOOT,
    AuroraCluster,
    AuroraInstance,
)
from lab.aws.servers import WIRE
from lab.aws.states import require_changeable, require_cloneable, require_running
from lab.aws.versions import ENGINE, family, major, offered, targets


class AuroraBackend(m.RDSBackend):  # type: ignore[misc]
    """RDS of one Region."""

    __module__ = "moto.rds.models"

    _INHERITED = (
        "engine",
        "engine_version",
        "master_username",
        "database_name",
        "storage_encrypted",
        "kms_key_id",
        "port",
        "backup_retention_period",
        "preferred_backup_window",
        "preferred_maintenance_window",
        "availability_zones",
        "engine_mode",
        "db_subnet_group_name",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Global clusters have tags too.
        known: str = self.arn_regex.pattern  # type: ignore[has-type]
        self.arn_regex = re.compile(known.replace("(db|", "(global-cluster|db|"))
        self.retained_backups: list[dict[str, str]] = []

    def _find_resource(self, resource_type: str, resource_name: str) -> Any:
        home = m.rds_backends[self.account_id]["us-east-1"]  # where moto keeps global clusters
        where = home if resource_type == "global-cluster" else self
        return m.RDSBackend._find_resource(where, resource_type, resource_name)

    # --- clusters

    def create_db_cluster(self, kwargs: dict[str, Any], source: Any = None) -> Any:
        """Make a cluster and, behind it, a server: empty, a clone, or a secondary's standby."""
        wanted = dict(kwargs)
        self._require_free(wanted["db_cluster_identifier"])
        require_password(wanted.get("master_user_password"))
        group = membership.group_of(self.account_id, wanted.get("global_cluster_identifier"))
        primary = None
        if group is not None:
            membership.require_admissible(group, self.region_name, wanted)
            primary = membership.primary_of(group)
        self._choose_key(wanted, primary)
        newest = primary.engine_version if primary is not None else offered()[-1]
        version = wanted.setdefault("engine_version", newest)
        if wanted.get("engine") == ENGINE and version not in offered():
            raise m.InvalidParameterCombination(f"Cannot find version {version} for {ENGINE}")
        wanted.setdefault("db_cluster_parameter_group_name", f"default.{family(version)}")
        self._require_groups(wanted, version)
        storage = wanted.pop("storage_type", None)  # moto: a KeyError for Aurora's own types
        cluster = super().create_db_cluster(wanted)
        self._forget_snapshots(cluster)
        cluster.storage_type = None if storage == "aurora" else storage
        if not cluster.storage_encrypted:
            cluster.kms_key_id = None  # moto has a word of its own there
        if primary is not None:
            cluster.master_username = primary.master_username
            cluster.database_name = primary.database_name
            cluster._master_user_password = primary._master_user_password
        outcome = FAULTS.outcome("RestoreDBClusterToPointInTime" if source else "CreateDBCluster")
        cluster.group_comes_later = outcome == GROUP_COMES_LATER
        if outcome and not cluster.group_comes_later:
            cluster.outcome = outcome
            return cluster
        WIRE.run(cluster.arn, "creating", lambda: self._serve(cluster, source, primary))
        return cluster

    def _serve(self, cluster: Any, source: Any, primary: Any) -> None:
        values = {} if cluster.group_comes_later else cluster.values()
        if source is not None:
            address = WIRE.servers.clone(
                cluster.arn, source.arn, parameters=values, names=cluster.names
            )
        elif primary is not None:
            address = WIRE.servers.standby(cluster.arn, primary.arn, names=cluster.names)
        else:
            address = WIRE.servers.create(
                cluster.arn,
                major=major(cluster.engine_version),
                parameters=values,
                master_username=cluster.master_username,
                master_password=cluster._master_user_password,
                database=cluster.database_name,
                names=cluster.names,
            )
        WIRE.addresses[cluster.arn] = address
        cluster.port = address[1]

    def _require_free(self, identifier: str) -> None:
        require_identifier("DBClusterIdentifier", identifier)
        if identifier.lower() in self.clusters:
            raise RdsError("DBClusterAlreadyExistsFault", "DB Cluster already exists")

    def _require_groups(self, wanted: dict[str, Any], version: str) -> None:
        """Refuse groups that aren't there, or are of another family than `version`'s."""
        group = wanted.get("db_cluster_parameter_group_name")
        known = self.db_cluster_parameter_groups
        if group and not group.startswith("default.") and group not in known:
            raise RdsError(
                "DBClusterParameterGroupNotFound", f"DBClusterParameterGroup not found: {group}"
            )
        if wanted.get("engine", ENGINE) == ENGINE:
            require_family(known.get(group or ""), version)
        subnets = wanted.get("db_subnet_group_name")
        if subnets and subnets != "default" and subnets not in self.subnet_groups:
            raise m.DBSubnetGroupNotFoundError(subnets)

    def _choose_key(self, wanted: dict[str, Any], primary: Any) -> None:
        """Have a key for what is encrypted: the one that is named, or AWS's own for RDS.

        A secondary is encrypted as its primary is, and must name a key of its own Region.
        """
        key = wanted.get("kms_key_id")
        if primary is not None and primary.storage_encrypted:
            wanted["storage_encrypted"] = True
            if not key:
                raise m.InvalidParameterCombination(
                    "For encrypted cross-region replica, kmsKeyId should be explicitly specified"
                )
        if key or wanted.get("storage_encrypted"):
            chosen = key or keys.AWS_OWN
            wanted["kms_key_id"] = keys.resolve(self.account_id, self.region_name, chosen)

    def restore_db_cluster_to_point_in_time(
        self,
        db_cluster_identifier: str,
        source_db_cluster_identifier: str | None = None,
        restore_type: str = "full-copy",
        restore_to_time: Any = None,
        use_latest_restorable_time: bool = False,
        **overrides: Any,
    ) -> Any:
        """Clone a cluster. Only what a clone inherits is inherited: moto copies everything."""
        if restore_to_time is not None and (
            use_latest_restorable_time or restore_type == "copy-on-write"
        ):
            raise m.InvalidParameterCombination(
                "RestoreToTime cannot be specified with this request"
            )
        source = self._source(source_db_cluster_identifier, overrides)
        require_cloneable(source)
        wanted = {name: getattr(source, name) for name in self._INHERITED}
        wanted["master_user_password"] = source._master_user_password
        wanted |= {name: value for name, value in overrides.items() if value is not None}
        wanted["db_cluster_identifier"] = db_cluster_identifier
        cluster = self.create_db_cluster(wanted, source=source)
        if restore_type == "copy-on-write":
            group = source.clone_group_id or m.random.get_random_hex(32)
            source.clone_group_id = cluster.clone_group_id = group
        return cluster

    def _source(self, identifier: str | None, overrides: dict[str, Any]) -> Any:
        resource = overrides.pop("source_db_cluster_resource_id", None)
        for cluster in self.clusters.values():
            if resource is not None and cluster.db_cluster_resource_id == resource:
                return cluster
        return self.describe_db_clusters(identifier or "none")[0]

    def modify_db_cluster(self, kwargs: dict[str, Any]) -> Any:
        """Change a cluster: at once, or pending; a new major version upgrades the server."""
        wanted = dict(kwargs)
        found = self.describe_db_clusters(wanted["db_cluster_identifier"])[0]
        wanted["db_cluster_identifier"] = found.db_cluster_identifier  # it may have been an ARN
        require_changeable(found)
        require_password(wanted.get("master_user_password"))
        # The version is the old one until the upgrade is done.
        version = wanted.pop("engine_version", None)
        if version == found.engine_version:
            version = None
        if version is not None:
            self._require_upgrade(found, version, wanted)
        self._require_groups(wanted, version or found.engine_version)
        if version is not None and not wanted.get("apply_immediately"):
            found.pending_modified_values = {"EngineVersion": version}
            wanted.pop("db_cluster_parameter_group_name", None)  # it comes with the version
            version = None
        had = found.parameter_group
        group = wanted.pop("db_instance_parameter_group_name", None)
        try:
            answer = super().modify_db_cluster(wanted)
        finally:  # moto takes it out first, and a refusal would lose it
            self.clusters.setdefault(found.db_cluster_identifier, found)
        found.show("modifying", MODIFYING_SECONDS)
        if version is not None:
            found.pending_modified_values = None
            self._upgrade(found, version, group)
        elif found.parameter_group != had:
            for instance in found._members:
                instance.group_status = PENDING_REBOOT
        password = wanted.get("master_user_password")
        if password:
            user = found.master_username
            WIRE.run(
                found.arn,
                "resetting-master-credentials",
                lambda: WIRE.servers.set_password(found.arn, user, password),
            )
        return answer

    def _require_upgrade(self, found: Any, version: str, wanted: dict[str, Any]) -> None:
        if version not in targets(found.engine_version):
            raise m.InvalidParameterCombination(
                f"Cannot upgrade {ENGINE} from {found.engine_version} to {version}"
            )
        is_major = major(version) != major(found.engine_version)
        group = membership.group_of(self.account_id, found.global_cluster_identifier)
        if group is not None:
            membership.require_upgradable(group, found, version, major=is_major)
        if not is_major:
            return
        if not wanted.get("allow_major_version_upgrade"):
            raise m.InvalidParameterCombination(
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major"
                " version."
            )
        if not wanted.get("db_cluster_parameter_group_name"):
            wanted["db_cluster_parameter_group_name"] = f"default.{family(version)}"
        require_family(
            self.db_parameter_groups.get(wanted.get("db_instance_parameter_group_name") or ""),
            version,
        )

    def _upgrade(self, found: Any, version: str, instance_group: str | None) -> None:
        """Bring the server to `version`. That nothing but the status shows it until then is what
        users of AWS have seen; no page of AWS's says so.
        """
        values, is_major = found.values(), major(version) != major(found.engine_version)

        def work() -> None:
            if is_major:
                WIRE.servers.upgrade(found.arn, major(version), values)
            WIRE.wait_until_seen(found.arn)  # AWS takes minutes, with a small cluster too
            found.engine_version = version
            for instance in found._members:
                instance.group_status = IN_SYNC
                if instance_group:
                    instance.db_parameter_group_name = instance_group

        WIRE.run(found.arn, "upgrading", work)

    def delete_db_cluster(self, cluster_identifier: str, snapshot_name: str | None = None) -> Any:
        """Delete a cluster and its server; a member of a global cluster is refused."""
        found = self.describe_db_clusters(cluster_identifier)[0]
        if found.global_cluster_identifier:
            raise m.InvalidDBClusterStateFault(
                "This cluster is a part of a global cluster, please remove it from globalcluster"
                " first"
            )
        require_changeable(found)
        cluster = super().delete_db_cluster(found.db_cluster_identifier, snapshot_name)
        self._forget_snapshots(cluster)

        def work() -> None:
            if cluster.arn in WIRE.addresses:  # a failed one may never have had a server
                WIRE.servers.delete(cluster.arn)
            WIRE.forget(cluster.arn)

        WIRE.run(cluster.arn, "deleting", work)
        return cluster

    def create_db_cluster_snapshot(
        self, db_cluster_identifier: str, *args: Any, **more: Any
    ) -> Any:
        """Take a snapshot; the cluster shows it for a while when somebody has asked for it."""
        snapshot = super().create_db_cluster_snapshot(db_cluster_identifier, *args, **more)
        if snapshot.snapshot_type == "manual":
            self.clusters[db_cluster_identifier].show("backing-up", BACKING_UP_SECONDS)
        return snapshot

    def _forget_snapshots(self, cluster: Any) -> None:
        """Drop the automated snapshots: a new cluster of that name within the minute would fail."""
        name = cluster.db_cluster_identifier
        for key, snapshot in list(self.cluster_snapshots.items()):
            automated = snapshot.snapshot_type == "automated"
            if automated and snapshot.cluster.db_cluster_identifier == name:
                del self.cluster_snapshots[key]

    # --- instances

    def create_db_instance(self, db_kwargs: dict[str, Any]) -> Any:
        """Make an instance in its cluster's subnet group."""
        wanted = dict(db_kwargs)
        require_identifier("DBInstanceIdentifier", wanted["db_instance_identifier"])
        require_class(wanted.get("db_instance_class"))
        cluster = self.clusters.get(wanted.get("db_cluster_identifier") or "")
        if cluster is not None:
            require_changeable(cluster)
            self._require_instance_group(wanted, cluster)
            if cluster.db_subnet_group_name in self.subnet_groups:
                wanted["db_subnet_group_name"] = cluster.db_subnet_group_name
        made = super().create_db_instance(wanted)
        if cluster is not None:
            made.show_new()
            made.outcome = FAULTS.outcome("CreateDBInstance")
            if cluster.group_comes_later:
                made.group_status = PENDING_REBOOT
        return made

    def modify_db_instance(self, db_instance_identifier: str, db_kwargs: dict[str, Any]) -> Any:
        """Change an instance, which shows it for a while."""
        found = self.describe_db_instances(db_instance_identifier)[0]
        require_class(db_kwargs.get("db_instance_class"))
        cluster = getattr(found, "cluster", None)
        if cluster is not None:
            self._require_instance_group(db_kwargs, cluster)
        changed = super().modify_db_instance(db_instance_identifier, db_kwargs)
        if cluster is not None:
            changed.show_changed(monitoring="monitoring_interval" in db_kwargs)
        return changed

    def _require_instance_group(self, wanted: dict[str, Any], cluster: Any) -> None:
        group = self.db_parameter_groups.get(wanted.get("db_parameter_group_name") or "")
        if cluster.engine == ENGINE:
            require_family(group, cluster.engine_version)

    def reboot_db_instance(self, db_instance_identifier: str) -> Any:
        """Restart the server with its parameter group's values of now."""
        instance = super().reboot_db_instance(db_instance_identifier)
        cluster = getattr(instance, "cluster", None)
        if cluster is None:
            return instance
        require_running(instance)
        instance.status = "rebooting"

        def work() -> None:
            try:
                WIRE.servers.reboot(cluster.arn, cluster.values())
                for member in cluster._members:
                    member.group_status = IN_SYNC
            finally:
                instance.status = "available"

        WIRE.run(cluster.arn, "available", work)  # only the instance shows a reboot
        return instance

    # --- parameter and subnet groups

    def modify_db_cluster_parameter_group(
        self, db_cluster_parameter_group_name: str, db_cluster_parameter_group_parameters: Any
    ) -> Any:
        """Change values; static ones wait for a reboot of the instances that use the group."""
        values = list(db_cluster_parameter_group_parameters)
        known = self.db_cluster_parameter_groups.get(db_cluster_parameter_group_name)
        if known is not None:
            parameters.require(known.db_parameter_group_family, values)
        group = super().modify_db_cluster_parameter_group(db_cluster_parameter_group_name, values)
        if any(value.get("ApplyMethod") == "pending-reboot" for value in values):
            for cluster in self.clusters.values():
                if cluster.parameter_group == group.name:
                    for instance in cluster._members:
                        instance.group_status = PENDING_REBOOT
        return group

    def modify_db_parameter_group(
        self, db_parameter_group_name: str, db_parameter_group_parameters: Any
    ) -> Any:
        """Change values of instances; which parameters are theirs alone is not told apart."""
        values = list(db_parameter_group_parameters)
        known = self.db_parameter_groups.get(db_parameter_group_name)
        if known is not None:
            parameters.require(known.family, values)
        return super().modify_db_parameter_group(db_parameter_group_name, values)

    def delete_db_cluster_parameter_group(self, db_cluster_parameter_group_name: str) -> None:
        """Delete a group that no cluster uses."""
        used = (cluster.parameter_group for cluster in self.clusters.values())
        if db_cluster_parameter_group_name in used:
            raise RdsError(
                "InvalidDBParameterGroupState",
                "One or more database instances are still members of this parameter group"
                f" {db_cluster_parameter_group_name}, so the group cannot be deleted",
            )
        super().delete_db_cluster_parameter_group(db_cluster_parameter_group_name)

    def delete_db_parameter_group(self, db_parameter_group_name: str) -> Any:
        """Delete a group that no instance uses."""
        used = (instance.db_parameter_group_name for instance in self.databases.values())
        if db_parameter_group_name in used:
            raise RdsError(
                "InvalidDBParameterGroupState",
                "One or more database instances are still members of this parameter group"
                f" {db_parameter_group_name}, so the group cannot be deleted",
            )
        return super().delete_db_parameter_group(db_parameter_group_name)

    def create_subnet_group(
        self, subnet_name: str, description: str, subnets: list[Any], tags: list[dict[str, str]]
    ) -> Any:
        """Make a group of at least two zones."""
        _require_zones(subnets)
        return super().create_subnet_group(subnet_name, description, subnets, tags)

    def modify_db_subnet_group(
        self, subnet_name: str, description: str | None, subnets: list[Any]
    ) -> Any:
        """Change a group in place; moto takes it out and never puts it back."""
        _require_zones(subnets)
        group = self.describe_db_subnet_groups(subnet_name)[0]
        group.subnets = subnets
        if description:
            group.description = description
        return group

    def delete_subnet_group(self, subnet_name: str) -> Any:
        """Delete a group that no cluster uses."""
        if any(cluster.db_subnet_group_name == subnet_name for cluster in self.clusters.values()):
            raise RdsError(
                "InvalidDBSubnetGroupStateFault",
                f"Cannot delete the subnet group '{subnet_name}' because at least one database"
                " instance is using it.",
            )
        return super().delete_subnet_group(subnet_name)


def _require_zones(subnets: list[Any]) -> None:
    covered = sorted({subnet.availability_zone for subnet in subnets})
    if len(covered) < 2:
        raise RdsError(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current"
            f" AZ coverage: {', '.join(covered)}. Add subnets to cover at least 2 AZs.",
        )


def install() -> None:
    """Put the subclasses in moto's place; call it before the first request."""
    m.DBCluster, m.DBInstanceClustered = AuroraCluster, AuroraInstance
    m.rds_backends.backend = AuroraBackend
