"""The command lines of a deployment, run in a lab and shown as a user would type them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
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

    def _typed(
        self,
        *arguments: str,
        flags: tuple[str, ...] = (),
        line: Callable[[str], None] | None = None,
        refused: bool = False,
    ) -> str:
        """Run `pulumi`, shown as a user would type it; return what it wrote.

        The flags are not shown. Notes how long it takes; raises `CommandFailed` when it fails, or
        does not although it is to be `refused`.
        """
        command = f"pulumi {' '.join(arguments)}"
        self._screen.command(command)
        began = time.monotonic()
        code, text = self._world.try_pulumi(*arguments, *flags, line=line)
        self.seconds.append((command, round(time.monotonic() - began, 1)))
        if refused and not code:
            raise CommandFailed(f"{command} was to be refused, and was not")
        if code and not refused:
            raise CommandFailed(f"{command} exited with {code}:\n{text}")
        return text

    def _busily(self, what: str, *arguments: str) -> str:
        """Run `pulumi`, showing what is done as it is done."""
        with self._screen.busy(what) as line:
            return self._typed(*arguments, flags=_QUIET, line=line)

    def up(self, stack: str) -> str:
        """Run `pulumi up`; return what it wrote."""
        return self._busily(f"updating {stack}", "up", "-s", stack)

    def preview(self, stack: str) -> None:
        """Run `pulumi preview` and show the review: the report, and every change."""
        for line in review(self._typed("preview", "-s", stack, flags=_LINES)):
            self._screen.plain(line)

    def routine_up(self, stack: str) -> int:
        """Run a routine `pulumi up --refresh`; return how many changes it made."""
        text = self._busily(f"updating {stack}", "up", "--refresh", "-s", stack)
        return sum(1 for line in text.splitlines() if _CHANGES.match(line))

    def destroy(self, stack: str) -> None:
        """Run `pulumi destroy`."""
        self._busily(f"destroying {stack}", "destroy", "-s", stack)

    def refused_destroy(self, stack: str) -> str:
        """Run a `pulumi destroy` that must be refused; return the refusal."""
        text = self._typed("destroy", "-s", stack, flags=_QUIET, refused=True)
        said = [line.strip() for line in text.splitlines() if "deletion_protection" in line]
        if not said:
            raise CommandFailed(f"pulumi destroy -s {stack} failed otherwise:\n{text}")
        return said[-1].rpartition("application: ")[2]

    def set(self, stack: str, key: str, value: str) -> None:
        """Run `pulumi config set`."""
        self._typed("config", "set", key, value, "-s", stack)

    def set_path(self, stack: str, path: str, value: str) -> None:
        """Run `pulumi config set --path` on one of the structured settings."""
        self._typed("config", "set", "--path", f"bluegreen:{path}", value, "-s", stack)

    def remove(self, stack: str, key: str) -> None:
        """Run `pulumi config rm`."""
        self._typed("config", "rm", key, "-s", stack)

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
