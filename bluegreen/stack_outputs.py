"""What a stack exports of its environment: all that other stacks and the command line know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bluegreen.aws.account import account_of
from bluegreen.errors import Refused
from bluegreen.postgres.server import Credentials, Server
from bluegreen.switch.declared import DeclaredSwitch

FORMAT: Literal[1] = 1


class StackOutputs(BaseModel):
    """The outputs of one stack; a change that readers of the same format can't take is a new one.

    They hold references to credentials, never the credentials.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1]
    cluster_identifier: str
    cluster_arn: str
    cluster_resource_id: str = ""
    """What AWS keys IAM policies of database users, alarms and backup plans to; empty in a stack
    of an earlier version."""
    region: str
    endpoint: str
    """Of the writer instance, whichever that is within the cluster."""
    reader_endpoint: str
    port: int
    engine_version: str
    """The version that runs, which AWS's maintenance may have made newer than what is set."""
    databases: tuple[str, ...]
    global_cluster_identifier: str
    """Empty where the environment is in no global database."""
    secondaries: tuple[str, ...]
    """ARNs of the clusters in other Regions."""
    credentials: Credentials
    records: dict[str, str]
    """The names `writer` and `reader` that lead to the writer's side; empty without any."""
    state: str
    """What the stack is: `plain`, or where its deployment stands."""
    switch: DeclaredSwitch | None = None
    """What a deployment that replicates declares of its switch."""

    @property
    def server(self) -> Server:
        """Return the environment's writer endpoint."""
        return Server(
            self.cluster_identifier,
            self.region,
            self.endpoint,
            self.port,
            self.credentials,
            account_of(self.cluster_arn),
        )


def parse(stack: str, outputs: Mapping[str, Any]) -> StackOutputs:
    """Return a stack's outputs as values.

    Raises `Refused` for a stack without an environment, of another format, or with an output that
    is missing or malformed, by name.
    """
    if "cluster_identifier" not in outputs:
        raise Refused(
            f"stack {stack!r} has no environment (never brought up, or destroyed); run pulumi up "
            f"-s {stack}"
        )
    if outputs.get("format") != FORMAT:
        raise Refused(
            f"stack {stack!r} has outputs of format {outputs.get('format')}, expected {FORMAT}; "
            f"run pulumi up -s {stack} with this version of the program"
        )
    try:
        return StackOutputs.model_validate(outputs)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise Refused(
            f"stack {stack!r}: output {name}: {first['msg'].lower()}; run pulumi up -s {stack} "
            "with this version of the program"
        ) from None
