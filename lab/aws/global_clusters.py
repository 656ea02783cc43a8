"""RDS as it answers: global clusters in any Region, engine versions, parameter groups."""

from __future__ import annotations

from typing import Any

import moto.rds.models as m
import moto.rds.responses as r
import moto.rds.urls as urls
from moto.core.responses import ActionResult

from lab.aws import parameters
from lab.aws.arguments import require_identifier
from lab.aws.errors import Answering400, RdsError
from lab.aws.servers import WIRE
from lab.aws.states import require_changeable
from lab.aws.versions import ENGINE, describe, major, offered


class AuroraResponse(Answering400, r.RDSResponse):  # type: ignore[misc]
    """The answers that moto gives wrongly or not at all."""

    __module__ = "moto.rds.responses"

    # --- global clusters; moto knows them in one Region only, and members by halves

    def _global(self, name: str) -> Any:
        found = self.global_backend.global_clusters.get(name.rpartition(":")[2])
        if found is None:
            raise RdsError("GlobalClusterNotFoundFault", f"Global cluster {name} not found")
        return found

    def _member(self, group: Any, name: str) -> Any:
        for cluster in group.members:
            if name in (cluster.arn, cluster.db_cluster_identifier):
                return cluster
        raise m.InvalidParameterValue(
            f"The cluster {name} is not found in global cluster {group.resource_id}"
        )

    def create_global_cluster(self) -> ActionResult:
        """Make a global cluster, of an existing cluster or empty."""
        wanted, home = self.params, self.global_backend
        name = wanted["GlobalClusterIdentifier"].lower()
        require_identifier("GlobalClusterIdentifier", name)
        if name in home.global_clusters:
            raise RdsError(
                "GlobalClusterAlreadyExistsFault", f"Global cluster {name} already exists"
            )
        source_arn, engine = wanted.get("SourceDBClusterIdentifier"), wanted.get("Engine")
        if source_arn and engine:
            raise m.InvalidParameterCombination(
                "When creating global cluster from existing db cluster, value for engineName"
                " should not be specified since it will be inherited from source cluster"
            )
        source = m.find_cluster(source_arn) if source_arn else None
        if source is None and not engine:
            raise m.InvalidParameterValue(
                "When creating standalone global cluster, value for engineName should be specified"
            )
        if source is not None and source.global_cluster_identifier:
            raise m.InvalidDBClusterStateFault(
                f"Cluster {source.resource_id} is already a member of a global cluster"
            )
        if source is not None:
            require_changeable(source)
        group = m.GlobalCluster(
            home,
            name,
            source.engine if source else engine,
            source.engine_version if source else wanted.get("EngineVersion"),
            source.storage_encrypted if source else wanted.get("StorageEncrypted"),
            wanted.get("DeletionProtection"),
        )
        group.tags = wanted.get("Tags", [])
        group.database_name = source.database_name if source else wanted.get("DatabaseName")
        if source is not None:
            source.global_cluster_identifier, source.is_writer = name, True
            group.members.append(source)
        home.global_clusters[name] = group
        return ActionResult({"GlobalCluster": group})

    def describe_global_clusters(self) -> ActionResult:
        """Find by identifier or by member; moto ignores both."""
        name = self.params.get("GlobalClusterIdentifier")
        found = [self._global(name)] if name else list(self.global_backend.global_clusters.values())
        for wish in self.params.get("Filters", []):
            if wish["Name"] == "db-cluster-id":
                values = set(wish["Values"])
                found = [
                    group
                    for group in found
                    if any(values & {c.arn, c.db_cluster_identifier} for c in group.members)
                ]
        return ActionResult({"GlobalClusters": found})

    def remove_from_global_cluster(self) -> ActionResult:
        """Detach a member: secondaries first, and each becomes a cluster of its own."""
        group = self._global(self.params["GlobalClusterIdentifier"])
        cluster = self._member(group, self.params["DbClusterIdentifier"])
        if cluster.is_writer and len(group.members) > 1:
            raise RdsError(
                "InvalidGlobalClusterStateFault",
                "The primary cluster can only be removed after all secondary clusters",
            )
        group.members.remove(cluster)
        if not cluster.is_writer:
            WIRE.run(cluster.arn, "promoting", lambda: WIRE.servers.promote(cluster.arn))
        cluster.global_cluster_identifier, cluster.is_writer = None, False
        return ActionResult({"GlobalCluster": group})

    def modify_global_cluster(self) -> ActionResult:
        """Change protection; versions change by their members, which this lab does before."""
        group, wanted = self._global(self.params["GlobalClusterIdentifier"]), self.params
        if wanted.get("DeletionProtection") is not None:
            group.deletion_protection = wanted["DeletionProtection"]
        version = wanted.get("EngineVersion")
        if version and major(version) == major(group.engine_version) != 0:
            if version != group.engine_version:
                raise m.InvalidParameterValue(
                    "ModifyGlobalCluster only supports Major Version Upgrades. To patch the"
                    " members of your global cluster to a newer minor version you need to call"
                    " ModifyDbCluster in each one of them."
                )
        elif version:
            raise NotImplementedError("a major upgrade of a whole global database")
        return ActionResult({"GlobalCluster": group})

    def delete_global_cluster(self) -> ActionResult:
        """Delete an empty, unprotected global cluster."""
        group = self._global(self.params["GlobalClusterIdentifier"])
        if group.deletion_protection:
            raise m.InvalidParameterCombination(
                "Cannot delete protected Global Cluster, please disable deletion protection and"
                " try again."
            )
        if group.members:
            raise RdsError(
                "InvalidGlobalClusterStateFault", f"Global cluster {group.arn} is not empty"
            )
        del self.global_backend.global_clusters[group.resource_id]
        return ActionResult({"GlobalCluster": group})

    # --- clusters

    def delete_db_cluster(self) -> ActionResult:
        """Require a decision about the final snapshot, as AWS does."""
        if not self.params.get("SkipFinalSnapshot") and not self.params.get(
            "FinalDBSnapshotIdentifier"
        ):
            raise m.InvalidParameterCombination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified."
            )
        answer = super().delete_db_cluster()
        if self.params.get("DeleteAutomatedBackups") is False:
            gone = answer.result["DBCluster"]
            self.backend.retained_backups.append(
                {
                    "DBClusterIdentifier": gone.db_cluster_identifier,
                    "DbClusterResourceId": gone.db_cluster_resource_id,
                    "Engine": gone.engine,
                    "Status": "retained",
                }
            )
        return answer

    def describe_db_cluster_automated_backups(self) -> ActionResult:
        """List what deleted clusters have left."""
        wanted = self.params.get("DBClusterIdentifier")
        found = [
            one
            for one in self.backend.retained_backups
            if wanted in (None, one["DBClusterIdentifier"])
        ]
        return ActionResult({"DBClusterAutomatedBackups": found})

    def describe_db_engine_versions(self) -> ActionResult:
        """List versions and their upgrade targets."""
        wanted = self.params
        version, engine = wanted.get("EngineVersion"), wanted.get("Engine")
        found = [
            other
            for other in offered(include_all=bool(wanted.get("IncludeAll")))
            if engine in (None, ENGINE)
            and (version is None or version in (other, other.partition(".")[0]))
        ]
        if wanted.get("DefaultOnly"):
            found = found[-1:]
        return ActionResult({"DBEngineVersions": [describe(version) for version in found]})

    # --- parameter groups

    def describe_engine_default_cluster_parameters(self) -> ActionResult:
        """Describe the parameters of a family."""
        family = self.params["DBParameterGroupFamily"]
        shown, marker = self._page(list(parameters.described(family).values()))
        defaults = {"DBParameterGroupFamily": family, "Parameters": shown, "Marker": marker}
        return ActionResult({"EngineDefaults": defaults})

    def describe_db_cluster_parameters(self) -> ActionResult:
        """Describe a group's parameters: who set a value, and whether it takes a reboot."""
        name, source = self.params["DBClusterParameterGroupName"], self.params.get("Source")
        found = self.backend.describe_db_cluster_parameters(name)
        known = parameters.described(
            self.backend.db_cluster_parameter_groups[name].db_parameter_group_family
        )
        users = {
            one["ParameterName"]: known[one["ParameterName"]] | one | {"Source": "user"}
            for one in found
        }
        listed = [one for one in (known | users).values() if source in (None, one["Source"])]
        shown, marker = self._page(listed)
        return ActionResult({"Parameters": shown, "Marker": marker})

    def _page(self, listed: list[Any]) -> tuple[list[Any], str | None]:
        """Return the page that is asked for, and the marker of the next one."""
        first, size = int(self.params.get("Marker") or 0), self.params.get("MaxRecords") or 100
        following = first + int(size)
        return listed[first:following], str(following) if following < len(listed) else None

    def describe_db_parameters(self) -> ActionResult:
        """Say who set a value; moto lists everything as if it were a default."""
        group = self.backend.describe_db_parameter_groups(self.params)[0]
        if self.params.get("Source") not in (None, "user"):
            return ActionResult({"Parameters": []})
        values = [value | {"Source": "user"} for value in group.parameters.values()]
        return ActionResult({"Parameters": values})

    def reset_db_cluster_parameter_group(self) -> ActionResult:
        """Take values back to the engine's own."""
        name = self.params["DBClusterParameterGroupName"]
        self.backend.describe_db_cluster_parameters(name)  # raises where there is none
        self._reset(self.backend.db_cluster_parameter_groups[name])
        return ActionResult({"DBClusterParameterGroupName": name})

    def reset_db_parameter_group(self) -> ActionResult:
        """Take values back to the engine's own."""
        group = self.backend.describe_db_parameter_groups(self.params)[0]
        self._reset(group)
        return ActionResult({"DBParameterGroupName": group.name})

    def _reset(self, group: Any) -> None:
        listed = [item["ParameterName"] for item in self.params.get("Parameters", [])]
        everything = self.params.get("ResetAllParameters")
        for parameter in list(group.parameters) if everything else listed:
            group.parameters.pop(parameter, None)


def install() -> None:
    """Let requests reach these answers."""
    urls.url_paths = dict.fromkeys(urls.url_paths, AuroraResponse.dispatch)
