"""The lab's copy of the program: its files, its stacks, and what they are set to."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import seed as seeds
from lab.place import CHECKOUT
from lab.seed import Seed

FILES = (
    "Pulumi.yaml",
    "Pulumi.blue.yaml",
    "Pulumi.green.yaml",
    "__main__.py",
    "settings.py",
    "components",
    "dynamic_providers",
    "hooks",
    "bluegreen",
)
STACKS = ("blue", "green")

Pulumi = Callable[..., str]


def copy(project: Path) -> None:
    """Copy the program to `project`, so that what is set there leaves the checkout alone."""
    project.mkdir()
    for name in FILES:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, project / name)
    # The environment that this runs in holds all that the program needs.
    (project / ".venv").symlink_to(sys.prefix)


def make_stacks(pulumi: Pulumi, seed: Seed, tls: Mapping[str, str]) -> None:
    """Make both stacks, and set in each what the example files leave to the user.

    `tls` is how the servers are reached, as the setting `credentials` says it.
    """
    chosen = values(seed) | {f"bluegreen:credentials.{key}": value for key, value in tls.items()}
    settings = [part for pair in chosen.items() for part in ("--plaintext", "=".join(pair))]
    for stack in STACKS:
        pulumi("stack", "init", stack)
        pulumi("config", "set-all", "--path", "-s", stack, *settings)


def values(seed: Seed) -> dict[str, str]:
    """Return what the lab sets in every stack's configuration, by path."""
    here, there = seeds.REGION, seeds.SECONDARY
    environment, secondary = "bluegreen:environment", "bluegreen:environment.secondary_regions[0]"
    return {
        "aws:region": here,
        f"{environment}.subnet_ids[0]": seed.subnets[here][0],
        f"{environment}.subnet_ids[1]": seed.subnets[here][1],
        f"{environment}.security_group_ids[0]": seed.security_groups[here],
        f"{secondary}.region": there,
        f"{secondary}.subnet_ids[0]": seed.subnets[there][0],
        f"{secondary}.subnet_ids[1]": seed.subnets[there][1],
        f"{secondary}.security_group_ids[0]": seed.security_groups[there],
        "bluegreen:credentials.admin_secret_arn": seed.admin_secret_arn,
        "bluegreen:credentials.replication_secret_arn": seed.replication_secret_arn,
        "bluegreen:dns.zone_id": seed.zone_id,
        "bluegreen:dns.writer": seeds.WRITER,
        "bluegreen:dns.reader": seeds.READER,
    }
