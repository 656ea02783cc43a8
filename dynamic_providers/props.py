"""Values of the library from resources' properties, where None is dropped and ints are floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from bluegreen.postgres.server import Credentials, Server
from bluegreen.register.fence_mode import DEFAULT_FENCE, DEFAULT_OLD_SIDE
from bluegreen.register.fenced_roles import Wish

_SERVER = TypeAdapter(Server)
_CREDENTIALS = TypeAdapter(Credentials)


def server(props: Mapping[str, Any]) -> Server:
    """Return the server that a property like `server` describes."""
    return _SERVER.validate_python(dict(props))


def credentials(props: Mapping[str, Any]) -> Credentials:
    """Return the references that a property `credentials` holds."""
    return _CREDENTIALS.validate_python(dict(props))


def role_wish(props: Mapping[str, Any]) -> Wish:
    """Return what the settings of `switch` say about roles, or those of them that are there."""
    roles = props.get("roles")
    return Wish(
        None if roles is None else tuple(roles),
        tuple(props.get("spare_roles") or ()),
        props.get("fence", DEFAULT_FENCE),
        props.get("old_side", DEFAULT_OLD_SIDE),
    )
