"""The command lines of a deployment, run in a lab and shown as a user would type them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import ClientError

from lab import seed as seeds
from lab.demo.screen import Screen
from lab.workload.address import Address, resolve
from lab.workload.login import Login
from lab.world import CommandFailed, World

_QUIET = ("--yes", "--skip-preview", "--non-interactive", "--color=never")
_LINES = ("--non-interactive", "--color=never")
_CHANGES = re.compile(r"^\s+(?P<count>\d+) changes?\.|^\s+[+~-]+ \d+ (created|updated|deleted)")


class Stacks:
    """The two stacks of a lab."""

    def __init__(self, world: World, screen: Screen) -> None:
        self._world, self._screen = world, screen
        self.seconds: list[tuple[str, float]] = []
        self.master = Login(seeds.MASTER, world.seed.admin_password)
        self.writer_name = seeds.WRITER

    @contextmanager
    def _shown(self, command: str) -> Iterator[None]:
        """Show a command as a user would type it, and note how long it takes."""
        self._screen.command(command)
        began = time.monotonic()
        yield
        self.seconds.append((command, round(time.monotonic() - began, 1)))

    def up(self, stack: str) -> None:
        """Run `pulumi up`, showing what is done as it is done."""
        with (
            self._shown(f"pulumi up -s {stack}"),
            self._screen.busy(f"updating {stack}") as line,
        ):
            self._world.pulumi("up", "-s", stack, *_QUIET, line=line)

    def preview(self, stack: str) -> None:
        """Run `pulumi preview` and show the review: the report, and every change."""
        with self._shown(f"pulumi preview -s {stack}"):
            text = self._world.pulumi("preview", "-s", stack, *_LINES)
        for line in review(text):
            self._screen.plain(line)

    def routine_up(self, stack: str) -> int:
        """Run a routine `pulumi up --refresh`; return how many changes it made."""
        with (
            self._shown(f"pulumi up --refresh -s {stack}"),
            self._screen.busy(f"updating {stack}") as line,
        ):
            text = self._world.pulumi("up", "--refresh", "-s", stack, *_QUIET, line=line)
        return sum(1 for line in text.splitlines() if _CHANGES.match(line))

    def destroy(self, stack: str) -> None:
        """Run `pulumi destroy`."""
        with (
            self._shown(f"pulumi destroy -s {stack}"),
            self._screen.busy(f"destroying {stack}") as line,
        ):
            self._world.pulumi("destroy", "-s", stack, *_QUIET, line=line)

    def refused_destroy(self, stack: str) -> str:
        """Run a `pulumi destroy` that must be refused; return the refusal."""
        with self._shown(f"pulumi destroy -s {stack}"):
            code, text = self._world.try_pulumi("destroy", "-s", stack, *_QUIET)
        if code == 0:
            raise CommandFailed(f"pulumi destroy -s {stack} was to be refused, and was not")
        said = [line.strip() for line in text.splitlines() if "deletion_protection" in line]
        if not said:
            raise CommandFailed(f"pulumi destroy -s {stack} failed otherwise:\n{text}")
        return said[-1].rpartition("application: ")[2]

    def set(self, stack: str, key: str, value: str) -> None:
        """Run `pulumi config set`."""
        with self._shown(f"pulumi config set {key} {value} -s {stack}"):
            self._world.pulumi("config", "set", key, value, "-s", stack)

    def set_path(self, stack: str, path: str, value: str) -> None:
        """Run `pulumi config set --path` on one of the structured settings."""
        key = f"bluegreen:{path}"
        with self._shown(f"pulumi config set --path {key} {value} -s {stack}"):
            self._world.pulumi("config", "set", "--path", key, value, "-s", stack)

    def remove(self, stack: str, key: str) -> None:
        """Run `pulumi config rm`."""
        with self._shown(f"pulumi config rm {key} -s {stack}"):
            self._world.pulumi("config", "rm", key, "-s", stack)

    def outputs(self, stack: str) -> dict[str, Any]:
        """Return a stack's outputs."""
        return self._world.outputs(stack)

    def address(self, stack: str) -> Address:
        """Return where a stack's writer endpoint leads now."""
        outputs = self.outputs(stack)
        return resolve(outputs["endpoint"], int(outputs["port"]))

    def cluster_exists(self, identifier: str) -> bool:
        """Return whether AWS still has a cluster."""
        rds = boto3.client(
            "rds",
            region_name=seeds.REGION,
            endpoint_url=self._world.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="lab",
            aws_secret_access_key="lab",
        )
        try:
            rds.describe_db_clusters(DBClusterIdentifier=identifier)
        except ClientError as error:
            if error.response["Error"]["Code"] == "DBClusterNotFoundFault":
                return False
            raise
        return True

    def secrets_in_state(self) -> int:
        """Return how many of the lab's files hold a password in plain text."""
        seed = self._world.seed
        passwords = [seed.admin_password.encode(), seed.replication_password.encode()]
        folders = [self._world.place.folder / "state", self._world.place.project]
        files = [
            file
            for folder in folders
            for file in folder.rglob("*")
            if file.is_file() and ".venv" not in file.parts
        ]
        files.append(self._world.place.folder / "api.jsonl")
        return sum(any(password in file.read_bytes() for password in passwords) for file in files)


def review(text: str) -> list[str]:
    """Return a preview's report and its changes, without the engine's repetitions."""
    report, changes, reading = [], [], False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("Diagnostics:"):
            reading = True
        elif stripped.startswith("Resources:"):
            reading = False
        elif reading and stripped and not stripped.startswith("pulumi:pulumi:Stack"):
            report.append(line[2:])
        elif line.startswith((" + ", " ~ ", " - ")) and "pulumi:pulumi:" not in line:
            changes.append(line.replace("pulumi-python:dynamic/", "").rstrip())
    return [*report, *changes]
