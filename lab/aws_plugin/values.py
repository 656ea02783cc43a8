"""Property values as the engine sends them: plain JSON with markers for unknown and secret."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, struct_pb2

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"

Props = dict[str, Any]


def from_struct(struct: struct_pb2.Struct) -> Props:
    """Return the properties of a request; whole numbers are ints, secrets plain."""
    plain: Props = _plain(json_format.MessageToDict(struct))
    return plain


def to_struct(props: Props) -> struct_pb2.Struct:
    """Return properties for an answer."""
    struct = struct_pb2.Struct()
    json_format.ParseDict(props, struct)
    return struct


def secret(value: Any) -> Any:
    """Mark a value as secret, in answers."""
    return {_SIGNATURE: _SECRET, "value": value}


def has_unknown(value: Any) -> bool:
    """Return whether a value is unknown, or holds one that is."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return bool(value == UNKNOWN)


def is_empty(value: Any) -> bool:
    """Return whether a value is the same as none given: the bridge's zero values are."""
    return value is None or value in ("", [], {}) or value is False or value == 0


def is_absent(value: Any) -> bool:
    """Return whether a value is none at all; a flag that is off and a 0 are given."""
    return value is None or value in ("", [], {})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return _plain(value["value"])
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
