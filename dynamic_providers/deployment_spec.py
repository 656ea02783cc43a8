"""A deployment's properties as a `StackSpec`, as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pulumi import contains_unknowns
from pulumi.output import Unknown
from pydantic import BaseModel, BeforeValidator

from bluegreen.deployment.transition import StackSpec

# For inputs that are unknown as a whole at preview: there is a source, and there are databases. Any
# other input has no value then, so that its default holds.
_STAND_INS: Mapping[str, Any] = {"source": {}, "databases": [""]}


def _or_empty(given: Any) -> Any:
    return "" if given is None or contains_unknowns(given) else given


_Text = Annotated[str, BeforeValidator(_or_empty)]


class _Source(BaseModel):
    cluster: _Text = ""
    region: _Text = ""


class _Known(BaseModel):
    stack: _Text = ""
    cluster_identifier: _Text = ""
    region: _Text = ""
    databases: frozenset[_Text] = frozenset()
    source: _Source | None = None
    source_stack: _Text = ""
    cutover: bool = False
    rollback: bool = True
    rehearsal: bool = False


def stack_spec(props: Mapping[str, Any], had: StackSpec | None = None) -> StackSpec:
    """Return what a deployment is asked to be; `had` is what it was, None before the first `up`."""
    known = {k: _STAND_INS.get(k) if isinstance(v, Unknown) else v for k, v in props.items()}
    given = _Known.model_validate({k: v for k, v in known.items() if v is not None})
    source, stack = given.source, given.source_stack
    cluster = source.cluster if source else ""
    if source and not stack and not cluster:
        # Unknown at preview, it still is a source: the earlier one, or a new one.
        stack, cluster = (had.source_stack, had.source_cluster) if had else ("(unknown)", "")
    return StackSpec(
        name=given.stack,
        cluster=given.cluster_identifier,
        region=given.region,
        databases=given.databases,
        source_stack=stack,
        source_cluster=cluster,
        source_region=source.region if source else "",
        cutover=given.cutover,
        rollback=given.rollback,
        rehearsal=given.rehearsal,
    )
