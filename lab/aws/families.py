"""Families: a parameter group is of one, and only clusters of its major version can use it."""

from __future__ import annotations

from typing import Any

import moto.rds.models as m

from lab.aws.versions import family


def require_family(group: Any, version: str) -> None:
    """Raise AWS's refusal of a group, the cluster's or an instance's, of another family."""
    if group is None:
        return
    # moto has two names for it.
    its = getattr(group, "db_parameter_group_family", None) or group.family
    wanted = family(version)
    if its != wanted:
        raise m.InvalidParameterCombination(
            f"The Parameter Group {group.name} with DBParameterGroupFamily"
            f" {its} cannot be used for this instance. Please use"
            f" a Parameter Group with DBParameterGroupFamily {wanted}"
        )
