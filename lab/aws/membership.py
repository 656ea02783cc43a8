"""Membership of a global cluster: who may join, and in which order members are upgraded.

AWS's codes; of the texts, those about master login and version are AWS's own, as users have
reported them, and the others tell the documented rule.
"""

from __future__ import annotations

from typing import Any

import moto.rds.models as m

from lab.aws.errors import RdsError
from lab.aws.versions import targets

_PRIMARYS_OWN = {
    "master_username": "user name",
    "master_user_password": "password",
    "database_name": "database name",
}


def group_of(account: str, name: str | None) -> Any:
    """Return a global cluster, None where none is named; raises where it isn't there."""
    if not name:
        return None
    # moto keeps all of them in one Region.
    found = m.rds_backends[account]["us-east-1"].global_clusters.get(name)
    if found is None:
        raise RdsError("GlobalClusterNotFoundFault", f"Global cluster {name} not found")
    return found


def primary_of(group: Any) -> Any:
    """Return the writer of a global cluster; None where there is none yet."""
    return next((member for member in group.members if member.is_writer), None)


def require_admissible(group: Any, region: str, wanted: dict[str, Any]) -> None:
    """Raise what AWS answers to a cluster that can't become a secondary of `group`."""
    primary = primary_of(group)
    if primary is None:
        return
    for given, what in _PRIMARYS_OWN.items():
        if wanted.get(given):
            raise m.InvalidParameterCombination(
                f"Cannot specify {what} for cross region replication cluster"
            )
    version, its = wanted.get("engine_version"), primary.engine_version
    if version is not None and version != its:
        raise m.InvalidParameterValue(
            f"The engine version that you requested for your DB cluster ({version}) does not match"
            f" the engine version of your Global Database ({its})"
        )
    if region == primary.region:
        raise m.InvalidParameterValue(
            "The AWS Region of a secondary DB cluster can't be the same as the Region of the"
            " primary DB cluster"
        )
    if any(member.region == region for member in group.members):
        raise m.InvalidParameterValue(
            f"Global cluster {group.resource_id} already has a DB cluster in {region}"
        )


def require_upgradable(group: Any, found: Any, version: str, *, major: bool) -> None:
    """Raise AWS's refusal of an upgrade that a member of `group` can't have by itself, or yet."""
    if major:
        raise m.InvalidParameterCombination(
            f"The DB cluster {found.db_cluster_identifier} is a member of the global cluster"
            f" {group.resource_id}: upgrade it to a new major version with ModifyGlobalCluster"
        )
    if not found.is_writer:
        return
    older = [one for one in group.members if version in targets(one.engine_version)]
    if any(one is not found for one in older):
        raise m.InvalidParameterCombination(
            "The secondary clusters of a global cluster must be upgraded before its primary"
        )
