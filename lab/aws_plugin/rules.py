"""Rules: what the official plugin refuses at preview, in its words.

Those that were recorded from it have its exact text; `guessed` marks the texts that are put
together from its source's manner, without having been seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lab.aws_plugin.values import Props, has_unknown

Rule = Callable[[Props], Iterator[tuple[str, str]]]
"""Yields (property, text) for each fault of the inputs."""

Rules = Sequence[Rule]


def snake(name: str) -> str:
    """Return a property's name as the official plugin's texts have it."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def value(name: str, judge: Callable[[str, Any], Iterator[str]]) -> Rule:
    """Judge one property, where it is given and known."""

    def rule(inputs: Props) -> Iterator[tuple[str, str]]:
        given = inputs.get(name)
        if given is not None and not has_unknown(given):
            for text in judge(snake(name), given):
                yield name, text

    return rule


def one_of(name: str, *allowed: object) -> Rule:
    """Take nothing but `allowed`."""
    return value(name, lambda key, given: _not_among(key, given, allowed))


def _not_among(key: str, given: Any, allowed: Sequence[object]) -> Iterator[str]:
    if given not in allowed:
        shown = " ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in allowed)
        yield f"expected {key} to be one of [{shown}], got {given}"


def engine(inputs: Props) -> Iterator[tuple[str, str]]:
    """Take the engines that a cluster can have; the official plugin says both reasons."""
    given = inputs.get("engine")
    allowed = ("aurora-mysql", "aurora-postgresql", "mysql", "postgres")
    if given is None or has_unknown(given) or str(given).startswith("custom-"):
        return
    for text in _not_among("engine", given, allowed):
        yield "engine", "invalid value for engine (must begin with custom-)"
        yield "engine", text


def identifier(name: str) -> Rule:
    """Take RDS's identifiers, in lower case only."""
    return value(name, _identifier)


def _identifier(key: str, given: str) -> Iterator[str]:
    if re.search(r"[^0-9a-z-]", given):
        yield f'only lowercase alphanumeric characters and hyphens allowed in "{key}"'
    if not re.match(r"[a-z]", given):
        yield f'first character of "{key}" must be a letter'
    # guessed
    if "--" in given:
        yield f'"{key}" cannot contain two consecutive hyphens'
    if given.endswith("-"):
        yield f'"{key}" cannot end with a hyphen'


def snapshot_identifier(name: str) -> Rule:
    """Take names of snapshots; these texts are guessed."""

    def judge(key: str, given: str) -> Iterator[str]:
        if re.search(r"[^0-9A-Za-z-]", given):
            yield f'only alphanumeric characters and hyphens allowed in "{key}"'
        if "--" in given:
            yield f'"{key}" cannot contain two consecutive hyphens'
        if given.endswith("-"):
            yield f'"{key}" cannot end in a hyphen'

    return value(name, judge)


def group_name(name: str) -> Rule:
    """Take names of parameter groups."""

    def judge(key: str, given: str) -> Iterator[str]:
        about = f'parameter group "{key}"'
        if re.search(r"[^0-9a-z.-]", given):
            yield f"only lowercase alphanumeric characters, periods, and hyphens allowed in {about}"
        if not re.match(r"[a-z]", given):
            yield f"first character of {about} must be a letter"
        # guessed
        if "--" in given:
            yield f"{about} cannot contain two consecutive hyphens"
        if given.endswith("-"):
            yield f"{about} cannot end with a hyphen"
        if len(given) > 255:
            yield f"{about} cannot be greater than 255 characters"

    return value(name, judge)


def subnet_group_name(name: str) -> Rule:
    """Take names of subnet groups."""

    def judge(key: str, given: str) -> Iterator[str]:
        if re.search(r"[^ .0-9a-z_-]", given):
            yield (
                "only lowercase alphanumeric characters, hyphens, underscores, periods, and spaces"
                f' allowed in "{key}"'
            )
        # guessed
        if len(given) > 255:
            yield f'"{key}" cannot be longer than 255 characters'
        if given.lower() == "default":
            yield f'"{given}" is not allowed as "{key}"'

    return value(name, judge)


def apply_methods(inputs: Props) -> Iterator[tuple[str, str]]:
    """Take the two ways in which a parameter comes into force."""
    given = inputs.get("parameters")
    for item in given if isinstance(given, list) else []:
        method = item.get("applyMethod") if isinstance(item, dict) else None
        if method is not None and not has_unknown(method):
            for text in _not_among("apply_method", method, ("immediate", "pending-reboot")):
                yield "parameters", text


def whole_number(name: str, least: int | None = None, most: int | None = None) -> Rule:
    """Take a number, between bounds where it has some; these texts are guessed."""

    def judge(key: str, given: Any) -> Iterator[str]:
        try:
            number = float(given)
        except (TypeError, ValueError):
            yield f"expected number type, got {type(given).__name__} type"
            return
        if least is not None and most is not None:
            if not least <= number <= most:
                yield f"expected {key} to be in the range ({least} - {most}), got {given}"
        elif most is not None and number > most:
            yield f"expected {key} to be at most ({most}), got {given}"

    return value(name, judge)


def apart(one: str, *others: str) -> Rule:
    """Refuse `one` beside another property; said for each side."""

    def rule(inputs: Props) -> Iterator[tuple[str, str]]:
        for other in others:
            if inputs.get(one) is not None and inputs.get(other) is not None:
                for this, that in ((one, other), (other, one)):
                    yield (
                        this,
                        f'Conflicting configuration arguments. "{snake(this)}": conflicts with'
                        f" {snake(that)}",
                    )

    return rule


def with_all(one: str, *all_of: str) -> Rule:
    """Refuse `one` without the others that belong to it."""

    def rule(inputs: Props) -> Iterator[tuple[str, str]]:
        if inputs.get(one) is not None and any(inputs.get(other) is None for other in all_of):
            listed = ",".join(sorted({snake(name) for name in (one, *all_of)}))
            yield (
                one,
                f'Missing required argument. "{snake(one)}": all of `{listed}` must be specified',
            )

    return rule


def aliases_or_records(inputs: Props) -> Iterator[tuple[str, str]]:
    """Refuse a record set that has neither, said for each side; both together is a guess."""
    given = [name for name in ("aliases", "records") if inputs.get(name) is not None]
    if len(given) == 1:
        return
    for name, key in (("aliases", "alias"), ("records", "records")):
        what = "one of `alias,records` must be specified"
        if given:
            what = (
                "only one of `alias,records` can be specified, but `alias,records` were specified"
            )
        yield name, f'Invalid combination of arguments. "{key}": {what}'
