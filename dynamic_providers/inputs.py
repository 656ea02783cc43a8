"""The inputs of a resource, declared once as a TypedDict: everything else is derived from that.

    class SlotInputs(TypedDict):
        server: Annotated[pulumi.Input[Mapping[str, Any]], Value(Server), UPDATES]
        '''Writer endpoint of the environment that publishes.'''
        wait_seconds: NotRequired[Annotated[pulumi.Input[float], Default(60)]]
        '''How long its creation waits, in seconds.'''

The constructor takes `**inputs: Unpack[SlotInputs]`, so the type checker knows its keywords. The
provider takes its diff from the markers, pydantic the values from the types, and the page of
documentation everything, with the docstrings.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final, NotRequired, get_args, get_origin, get_type_hints

import pulumi
from pydantic import TypeAdapter


class Change(Enum):
    """What a change of an input does. Without one, it counts from the next change on."""

    UPDATES = "in place"
    REPLACES = "replaces"
    FIXED = "refused at preview"


UPDATES: Final = Change.UPDATES
REPLACES: Final = Change.REPLACES
FIXED: Final = Change.FIXED


@dataclass(frozen=True, slots=True)
class Value:
    """Marks what pydantic makes of an input, where the input's own type doesn't say it."""

    type: Any


@dataclass(frozen=True, slots=True)
class Default:
    """Marks the value of an input that is left out or None; without it that value is None."""

    value: Any


@dataclass(frozen=True, slots=True)
class Input:
    """One input, as declared."""

    type: Any
    """The type that it takes, without Pulumi's wrapping."""
    value: TypeAdapter[Any]
    required: bool
    default: Any
    change: Change | None

    def read(self, given: Any) -> Any:
        """Return `given` as a value of the library, the default where it is None.

        Raises pydantic's `ValidationError`.
        """
        found = self.default if given is None else given
        return None if found is None else self.value.validate_python(found)


# `pulumi.Input` holds `Output[T]` as text, a name that the modules using it lack.
_NAMES_OF_PULUMI = {"Output": pulumi.Output, "T": Any}


@functools.cache
def declared(inputs: type) -> Mapping[str, Input]:
    """Return the inputs that a TypedDict declares, by name."""
    hints = get_type_hints(inputs, localns=_NAMES_OF_PULUMI, include_extras=True)
    return {name: _input(hint) for name, hint in hints.items()}


def _input(hint: Any) -> Input:
    required = get_origin(hint) is not NotRequired
    if not required:
        (hint,) = get_args(hint)
    wrapped, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    type_ = _unwrapped(wrapped)
    value = next((one.type for one in marks if isinstance(one, Value)), type_)
    return Input(
        type_,
        TypeAdapter(value),
        required,
        next((one.value for one in marks if isinstance(one, Default)), None),
        next((one for one in marks if isinstance(one, Change)), None),
    )


def _unwrapped(wrapped: Any) -> Any:
    """Return T of `pulumi.Input[T]`."""
    awaited = [one for one in get_args(wrapped) if get_origin(one) is Awaitable]
    return get_args(awaited[0])[0]


def keys(inputs: type, change: Change) -> list[str]:
    """Return the inputs whose change has this effect."""
    return [name for name, one in declared(inputs).items() if one.change is change]


def only(inputs: type, props: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `props` that are inputs."""
    return {key: props[key] for key in declared(inputs) if key in props}


def properties(inputs: type, given: Mapping[str, Any], resource: type) -> dict[str, Any]:
    """Return a new resource's properties: its inputs, and None for each output it annotates.

    Raises `TypeError` for an input that is unknown or missing, as a signature would.
    """
    known = declared(inputs)
    if unknown := sorted(given.keys() - known.keys()):
        raise TypeError(f"{resource.__name__}: {', '.join(unknown)} is no input")
    if missing := [key for key, one in known.items() if one.required and key not in given]:
        raise TypeError(f"{resource.__name__}: input {', '.join(missing)} is missing")
    props = {
        key: one.default if given.get(key) is None else given[key] for key, one in known.items()
    }
    return props | dict.fromkeys(resource.__annotations__)
