"""Engine versions that the lab's AWS offers, and what each may be upgraded to."""

from __future__ import annotations

ENGINE = "aurora-postgresql"

# The lab's servers are 16.14 and 18.4; the others exist by name only, to be refused properly.
_OFFERED = ("14.18", "15.13", "16.10", "16.13", "16.14", "17.6", "18.4")


# Clusters that run it stay, and are described only on request; nobody can make one any more.
_RETIRED = frozenset({"16.10"})


def offered(*, include_all: bool = False) -> tuple[str, ...]:
    """Return the versions that a new cluster can have; with `include_all` the others too."""
    return tuple(one for one in _OFFERED if include_all or one not in _RETIRED)


def major(version: str) -> int:
    """Return the number before the dot."""
    return int(version.partition(".")[0])


def targets(version: str) -> list[str]:
    """Return the versions that `version` may be upgraded to: every later one."""
    return [other for other in offered() if _key(other) > _key(version)]


def family(version: str) -> str:
    """Return the family of the parameter groups of `version`."""
    return f"{ENGINE}{major(version)}"


def describe(version: str) -> dict[str, object]:
    """Return `version` as DescribeDBEngineVersions does."""
    return {
        "Engine": ENGINE,
        "EngineVersion": version,
        "DBParameterGroupFamily": family(version),
        "DBEngineDescription": "Aurora (PostgreSQL)",
        "DBEngineVersionDescription": f"Aurora PostgreSQL (compatible with PostgreSQL {version})",
        "Status": "deprecated" if version in _RETIRED else "available",
        "SupportsGlobalDatabases": True,
        "SupportsReadReplica": False,
        "SupportedEngineModes": ["provisioned"],
        "ExportableLogTypes": ["postgresql"],
        "ValidUpgradeTarget": [
            {
                "Engine": ENGINE,
                "EngineVersion": other,
                "AutoUpgrade": False,
                "IsMajorVersionUpgrade": major(other) != major(version),
                "SupportsGlobalDatabases": True,
            }
            for other in targets(version)
        ],
    }


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
