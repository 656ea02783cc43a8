"""Values of the library from a resource's properties, by pydantic; errors in one line.

The protocol drops None and makes floats of all numbers; at preview a property may be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pulumi import contains_unknowns
from pulumi.dynamic import CheckFailure
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bluegreen.errors import Refused
from dynamic_providers.inputs import Input, declared

_MISSING = "is missing"
# Words for types that pydantic calls by its own names.
_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "sequence_str": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "dataclass_type": "a mapping",
}


class Values:
    """The inputs of a resource, each read when it is used.

    They are not read all at once: a deletion must not fail for an input that it doesn't need.
    """

    def __init__(self, inputs: type, props: Mapping[str, Any]) -> None:
        self._declared, self._props = declared(inputs), props

    def __getitem__(self, key: str) -> Any:
        """Return the value of an input, its default where there is none; `Refused` if malformed."""
        one, given = self._declared[key], self._props.get(key)
        if one.required and given is None:
            raise Refused(f"{key} {_MISSING}")
        try:
            return one.read(given)
        except ValidationError as error:
            raise Refused(f"{key}: {line(error)}") from None


def malformed(inputs: type, news: Mapping[str, Any]) -> list[CheckFailure]:
    """Return a failure for each input that no update could use; unknown ones may be valid."""
    found = {
        key: _problem(one, news.get(key))
        for key, one in declared(inputs).items()
        if not contains_unknowns(news.get(key))
    }
    return [CheckFailure(key, why) for key, why in found.items() if why is not None]


def _problem(one: Input, given: Any) -> str | None:
    if one.required and given is None:
        return _MISSING
    try:
        one.read(given)
    except ValidationError as error:
        return line(error)
    return None


def line(error: ValidationError) -> str:
    """Return the first thing that is wrong: where in the value, what it is, and what is allowed."""
    first = error.errors(include_url=False)[0]
    where = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in first["loc"])
    return f"{where.removeprefix('.')}: {_words(first)}" if where else _words(first)


def _words(error: ErrorDetails) -> str:
    got = error["input"]
    shown = type(got).__name__ if isinstance(got, Mapping | list | tuple) else repr(got)
    match error["type"]:
        case "missing":
            return _MISSING
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case "enum" | "literal_error":
            allowed = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            return f"got {shown}, allowed are {', '.join(allowed)}"
    # After a comma pydantic words what it got.
    plain = error["msg"].removeprefix("Input should be ").partition(", ")[0]
    return f"got {shown}, expected {_EXPECTED.get(error['type'], plain)}"
