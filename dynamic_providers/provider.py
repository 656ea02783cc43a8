"""What all dynamic providers share: clean errors, explicit diffs, no secret in the state."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from pulumi import contains_unknowns
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    DiffResult,
    ResourceProvider,
)

from bluegreen.errors import BlueGreenError
from bluegreen.postgres.queries import failure
from dynamic_providers.host_errors import ProviderError, answer_in_lines
from dynamic_providers.inputs import FIXED, REPLACES, UPDATES, keys, only
from dynamic_providers.values import Values, malformed

Props = dict[str, Any]


def one_line(error: BaseException) -> str:
    """Return `error` as one line that holds no connection string."""
    if isinstance(error, BlueGreenError):
        return str(error)
    if isinstance(error, psycopg.Error):
        return failure(error)
    if isinstance(error, ClientError | BotoCoreError):
        return f"AWS: {' '.join(str(error).split())}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _clean(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def cleaned(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # the edge to the user: everything becomes a line
            failure = ProviderError(one_line(error))
        # Raised outside the handler, so that the original error is no part of it.
        raise failure

    return cleaned


class Provider(ResourceProvider):
    """Base of all providers. No constructor: what is set on `self` would land in the state."""

    # Serialised by reference, a provider holds only names, so there is nothing to encrypt.
    serialize_as_secret_always = False

    inputs: ClassVar[type]
    """The TypedDict that declares the resource's inputs."""

    def configure(self, _req: ConfigureRequest) -> None:
        """Show the library's progress, and errors as lines: the host passes both to the user."""
        answer_in_lines()
        library = logging.getLogger("bluegreen")
        if not library.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(message)s"))
            library.addHandler(handler)
            library.setLevel(logging.INFO)
        # A connection that breaks in a pipeline gets a warning of psycopg's own, about an object
        # in memory, beside the line that the user reads.
        logging.getLogger("psycopg").setLevel(logging.ERROR)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("create", "update", "delete", "read"):
            if name in cls.__dict__:
                setattr(cls, name, _clean(cls.__dict__[name]))

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Refuse a change of a fixed input, and values that no update could use."""
        found = fixed(olds, news, keys(self.inputs, FIXED)) + malformed(self.inputs, news)
        return CheckResult(news, found)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the inputs, each by its declared effect of a change."""
        return explicit_diff(
            olds, news, updates=keys(self.inputs, UPDATES), replaces=keys(self.inputs, REPLACES)
        )

    def values(self, props: Props) -> Values:
        """Return the inputs among `props` as values of the library."""
        return Values(self.inputs, props)

    def inputs_in(self, props: Props) -> Props:
        """Return the inputs among `props` as they are, for `read`."""
        return only(self.inputs, props)


def inputs_only(props: Props) -> Props:
    """Return `props` without what the SDK adds."""
    return {key: value for key, value in props.items() if key != "__provider"}


def fixed(olds: Props, news: Props, keys: Iterable[str]) -> list[CheckFailure]:
    """Return a failure for each of `keys` that differs from the existing resource's.

    This is for what a replacement would destroy: it is refused at preview. `olds` are the inputs of
    the last update that succeeded, empty before the first.
    """
    return [
        CheckFailure(
            key,
            f"{key} is {olds[key]!r} and can't become {news.get(key)!r} in place; destroy the "
            "deployment and stand it up again",
        )
        for key in keys
        if key in olds and not contains_unknowns(news.get(key)) and _differs(olds, news, key)
    ]


def _same(old: Any, new: Any) -> bool:
    # The protocol drops None, so a missing key, None, a false flag and an empty value are one.
    return bool(_plain(old) == _plain(new))


def _plain(value: Any) -> Any:
    return None if value is False or value in ("", [], {}) else value


def explicit_diff(
    olds: Props,
    news: Props,
    *,
    updates: Iterable[str] = (),
    replaces: Iterable[str] = (),
) -> DiffResult:
    """Return the diff over the named keys only; `olds` are outputs, live values after a refresh.

    A value unknown at preview counts as an update, never as a replacement: a needless replacement
    would cut a subscription off from its slot, and rows would be lost.
    """
    changed = [key for key in updates if _differs(olds, news, key)]
    other = [key for key in replaces if _differs(olds, news, key)]
    replaced = [key for key in other if not contains_unknowns(news.get(key))]
    return DiffResult(changes=bool(changed or other), replaces=replaced, delete_before_replace=True)


def _differs(olds: Props, news: Props, key: str) -> bool:
    return contains_unknowns(news.get(key)) or not _same(olds.get(key), news.get(key))
