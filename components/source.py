"""The environment that is to be replaced, as its own stack's outputs describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from bluegreen import stack_outputs
from bluegreen.errors import Refused
from bluegreen.replication.subscription.options import streaming_problem
from bluegreen.stack_outputs import StackOutputs
from bluegreen.upgrade.engine_version import EngineVersion
from components.stack import Stack


@dataclass(frozen=True, slots=True)
class Source:
    """The source's outputs; `server` is its writer endpoint as resources take it."""

    stack: str
    server: pulumi.Output[Mapping[str, Any]]
    cluster_identifier: pulumi.Output[str]
    engine_version: pulumi.Output[str]
    reader_endpoint: pulumi.Output[str]


def find_source(stack: Stack) -> Source | None:
    """Return the source; None in a plain stack.

    The engine itself refuses an unknown stack; one without our outputs ends the program with a
    line, before anything is declared that could touch something.
    """
    name = stack.settings.source
    if name is None:
        return None
    full = name if "/" in name else f"{pulumi.get_organization()}/{stack.project}/{name}"
    outputs = pulumi.StackReference(full).outputs.apply(lambda found: _checked(name, found))
    if stack.has_standby:
        outputs = outputs.apply(lambda found: _subscribable(stack, name, found))
    return Source(
        stack=name,
        server=outputs.apply(lambda found: found.server.to_props()),
        cluster_identifier=outputs.apply(lambda found: found.cluster_identifier),
        engine_version=outputs.apply(lambda found: found.engine_version),
        reader_endpoint=outputs.apply(lambda found: found.reader_endpoint),
    )


def _checked(name: str, outputs: Mapping[str, Any]) -> StackOutputs:
    try:
        return stack_outputs.parse(name, outputs)
    except Refused as error:
        final = "" if outputs else "; or, once this deployment is final, pulumi config rm source"
        raise pulumi.RunError(f"bluegreen:source: {error}{final}") from None


def _subscribable(stack: Stack, name: str, outputs: StackOutputs) -> StackOutputs:
    # A subscriber by the cutover only: too late to learn of it. The target is no older.
    version = EngineVersion.parse(outputs.engine_version)
    reason = streaming_problem(
        stack.settings.replication.streaming, version.major, f"source {name!r} runs {version}"
    )
    if reason is not None:
        raise pulumi.RunError(f"bluegreen:replication.streaming: {reason}")
    return outputs
