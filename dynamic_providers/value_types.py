"""Types of inputs that several resources share: servers, names, positions, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pulumi
from pydantic import AfterValidator, BeforeValidator, Field

from bluegreen import names
from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres.server import Server
from bluegreen.upgrade.engine_version import EngineVersion
from dynamic_providers.inputs import Value

ServerInput = Annotated[pulumi.Input[Mapping[str, Any]], Value(Server)]
"""A writer endpoint, and references to its credentials: `Server.to_props`."""

SecondsInput = Annotated[pulumi.Input[float], Value(Annotated[float, Field(ge=0)])]


def _some(found: tuple[str, ...]) -> tuple[str, ...]:
    if not found:
        raise ValueError("none; expected at least one name")
    return found


SomeNames = Annotated[tuple[str, ...], AfterValidator(_some)]
NamesInput = Annotated[pulumi.Input[Sequence[str]], Value(SomeNames)]
"""A list with at least one name."""


def _listed(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


OneOrMoreNames = Annotated[SomeNames, BeforeValidator(_listed)]
"""One name, or a list of names."""


def _fits(name: str) -> str:
    if not 0 < len(name.encode()) <= names.MAX_BYTES:
        raise ValueError(f"got {name!r}, expected 1 to {names.MAX_BYTES} bytes")
    return name


ObjectName = Annotated[str, AfterValidator(_fits)]
"""A name that the server takes as it is; it would cut off a longer one."""
NameInput = Annotated[pulumi.Input[str], Value(ObjectName)]


def _position(text: str) -> Lsn:
    try:
        return Lsn.parse(text)
    except Refused as error:
        raise ValueError(str(error)) from None


Position = Annotated[str, AfterValidator(_position)]
"""An `Lsn` from text such as `16/B374D848`."""


def _version(text: str) -> EngineVersion:
    try:
        return EngineVersion.parse(text)
    except Refused as error:
        raise ValueError(str(error).removeprefix("engine_version: ")) from None


Version = Annotated[str, AfterValidator(_version)]
"""An `EngineVersion` from text such as `18.4`."""
