"""Instance classes: which of them AWS offers for an engine version in a Region."""

from __future__ import annotations

from collections.abc import Mapping

from bluegreen.aws.clients import client
from bluegreen.aws.errors import asking

_ENGINE = "aurora-postgresql"


def inspect_all(region: str, version: str) -> Mapping[str, bool]:
    """Return the classes offered, and whether each may be in a global database.

    Empty for a version of which AWS says nothing: one that no new cluster can have. Raises
    `Refused` and `Retry`, as AWS answers.
    """
    found = {}
    with asking(f"classes of {version} in {region}: DescribeOrderableDBInstanceOptions"):
        pages = client("rds", region).get_paginator("describe_orderable_db_instance_options")
        for page in pages.paginate(Engine=_ENGINE, EngineVersion=version):
            for one in page["OrderableDBInstanceOptions"]:
                # One that says nothing of global databases isn't refused for that.
                found[one["DBInstanceClass"]] = bool(one.get("SupportsGlobalDatabases", True))
    return found


def problem(
    region: str, version: str, chosen: str, offered: Mapping[str, bool], *, in_global: bool
) -> str | None:
    """Return why an instance can't have the class `chosen`; None when it can, or nobody knows."""
    if not offered or (chosen in offered and (offered[chosen] or not in_global)):
        return None
    others = [name for name, may in sorted(offered.items()) if may or not in_global]
    family = chosen.rpartition(".")[0]
    near = [name for name in others if name.startswith(f"{family}.")] or others
    what = "offers no such class" if chosen not in offered else "takes it in no global database"
    return (
        f"instance class {chosen}: AWS {what} for {version} in {region}; name one of "
        f"{', '.join(near[:5]) or 'another version'}"
    )
