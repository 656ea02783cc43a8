"""States of clusters and instances in which AWS refuses what is asked of them.

Only states whose refusal is documented or was reported are told apart: AWS may refuse in others
too (it is not known of `modifying`), and what it takes while a cluster is being made is left alone.
"""

from __future__ import annotations

from typing import Any

import moto.rds.models as m

from lab.aws.errors import RdsError

# What goes on with the whole cluster.
BUSY = frozenset({"deleting", "failed", "promoting", "upgrading"})


def require_changeable(cluster: Any) -> None:
    """Raise where a cluster can be neither modified, nor cloned, nor deleted, nor added to."""
    state = cluster.status
    if state in BUSY - {"failed"}:
        raise m.InvalidDBClusterStateFault(
            f"DB cluster {cluster.db_cluster_identifier} is not currently in the available state"
            f" (its status is {state})"
        )


def require_cloneable(cluster: Any) -> None:
    """Raise where a cluster can't be a clone's source: it is busy, or nothing runs on it."""
    if cluster.status in BUSY | {"creating"}:
        require_changeable(cluster)
        raise m.InvalidDBClusterStateFault(
            f"Source cluster {cluster.db_cluster_identifier} is in state {cluster.status}"
        )
    if not cluster._members:
        # The rule is AWS's ("has no DB instances" in its guide's limits of cloning), not the text.
        raise m.InvalidDBClusterStateFault(
            f"Source cluster {cluster.db_cluster_identifier} has no DB instances"
        )


def require_running(instance: Any) -> None:
    """Raise where an instance can't be restarted."""
    if instance.status != "available":
        raise RdsError(
            "InvalidDBInstanceState",
            f"Instance {instance.db_instance_identifier} is not in available state.",
        )
