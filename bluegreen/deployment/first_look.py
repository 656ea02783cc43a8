"""What is asked before a first `up` makes anything, since it would come to light hours later."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence

from bluegreen.aws import cluster, instance_classes
from bluegreen.deployment.spec import DeploymentSpec
from bluegreen.errors import Refused
from bluegreen.postgres import versions
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.server import Server, secret_login
from bluegreen.postgres.table_names import TableName
from bluegreen.replication import database_code
from bluegreen.replication.publication import publishing
from bluegreen.replication.subscription import owner_rights
from bluegreen.upgrade import engine, obstacles
from bluegreen.upgrade.engine_version import EngineVersion

log = logging.getLogger(__name__)

_MOST_CLONES = 15
_LOCK_SECONDS = 60.0  # for the locks that reading tables and publications takes


def require_classes(desired: DeploymentSpec) -> None:
    """Raise `Refused` for an instance class that AWS would refuse, in a second Region hours later.

    Without the right to ask, nothing is known and nothing refused.
    """
    version = desired.engine_version
    for region, classes in sorted(desired.instance_classes.items()):
        try:
            offered = instance_classes.inspect_all(region, version) if version else {}
        except Refused as error:
            log.info("%s", error)
            continue
        for chosen in sorted(classes):
            reason = instance_classes.problem(
                region, str(version), chosen, offered, in_global=len(desired.instance_classes) > 1
            )
            if reason is not None:
                raise Refused(reason)


def room_problem(source: str, lineage: Collection[str]) -> str | None:
    """Return why the next clone would be none; `lineage` are all that share storage already.

    AWS: "up to 15 clones based on a copy, including clones based on other clones. After that, only
    copies can be created" (Aurora user guide, Cloning). A full copy takes hours, and is no clone.
    """
    others = sorted(set(lineage) - {source})
    if len(others) < _MOST_CLONES:
        return None
    return (
        f"source {source}: shares its storage with {len(others)} clusters already "
        f"({', '.join(others[:3])}, ...), and AWS clones a lineage {_MOST_CLONES} times: the next "
        "one would be a full copy; delete one that nobody needs"
    )


def require_room_for_a_clone(source: Server) -> None:
    """Raise `Refused` where the next clone of the source would be a full copy."""
    group = source.get_cluster().clone_group_id
    reason = room_problem(source.cluster, cluster.lineage(source.region, group)) if group else None
    if reason is not None:
        raise Refused(reason)


def require_upgradable(source: Server, desired: DeploymentSpec) -> None:
    """Raise `Refused` for what the clone's major upgrade would stumble over."""
    if desired.engine_version is None:
        return
    version = EngineVersion.parse(desired.engine_version)
    engine.require_reachable(source.get_cluster(), version)
    to = version.major
    with source.connect("postgres") as conn:
        have = versions.major(conn)
    if to > have:
        obstacles.require_clone_upgradable(source, desired.spec.databases, to_major=to)


def require_publishable(source: Server, desired: DeploymentSpec) -> None:
    """Raise `Refused` where publishing would break production's own writes.

    The publications refuse the same things, and the subscriptions rows that they could not apply,
    but only after other resources have been made: those of the way back when the target has taken
    writes already.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    for database, published in sorted(desired.publishes.items()):
        with source.connect(database) as conn:
            database_code.require_replicable(conn, published.publication, source.cluster)
            tables = publishing.require_publishable(
                conn, published.publication, published.identities, deadline=deadline
            )
            _require_appliable(conn, source, desired, tables)


def _require_appliable(
    conn: Connection, source: Server, desired: DeploymentSpec, tables: Sequence[TableName]
) -> None:
    """Raise `Refused` where the clone could not apply the source's rows, or the source the clone's.

    The clone inherits roles, tables and privileges, so the source is asked for both.
    """
    have = versions.major(conn)
    to = have
    if desired.engine_version is not None:
        to = EngineVersion.parse(desired.engine_version).major
    ways = [("rows for the target", desired.credentials, desired.spec.region, to)]
    if desired.spec.rollback:
        ways.append(("rows of the way back", source.credentials, source.region, have))
    for what, credentials, region, major in ways:
        owner_rights.require_appliable(
            conn,
            f"source {source}: {what} in {conn.info.dbname!r}",
            credentials.admin_iam_user or secret_login(credentials.admin_secret_arn, region)[0],
            tables,
            run_as_owner=False,
            major=major,
        )
