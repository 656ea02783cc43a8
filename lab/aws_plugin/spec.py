"""What one resource type is: its properties, and how it is made, read, changed and deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.aws_plugin.rules import Rules
from lab.aws_plugin.values import Props


class PluginError(Exception):
    """What the user reads when an operation fails."""


class Aws(Protocol):
    """Clients of the AWS APIs by service and Region, and waiting."""

    @property
    def default_tags(self) -> Mapping[str, str]: ...
    def client(self, service: str, region: str | None = None) -> Any: ...
    def patiently(
        self, call: Callable[[], object], passes: Callable[[Exception], bool], minutes: float
    ) -> None: ...
    def wait(self, what: str, done: Callable[[], bool], seconds: float = 600) -> None: ...


Made = Callable[[str], None]


class Operations(Protocol):
    """The four operations of a type, over AWS."""

    def create(self, aws: Aws, news: Props, made: Made) -> None:
        """Make it, and tell `made` its id as soon as AWS has it: what fails later keeps that."""
        ...

    def read(self, aws: Aws, identity: str, known: Props) -> Props | None:
        """Return its live properties, None when AWS says that it is gone."""
        ...

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        """Bring about what differs."""
        ...

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        """Delete it; one that is gone already is fine."""
        ...


@dataclass(frozen=True, slots=True)
class Spec:
    """A type. `computed` may be left to AWS; `outputs` are AWS's alone."""

    operations: Operations
    optional: frozenset[str]
    required: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    replaces: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    imported: Mapping[str, Any] = field(default_factory=dict)
    """Outputs of an import that no API returns."""
    rules: Rules = ()
    """What an input may be, beyond being one."""
    autonamed: bool = False
    """Whether `name` is made up when it is missing; if it is given, a replacement deletes first."""
    regional: bool = True
    tagged: bool = True

    @property
    def inputs(self) -> frozenset[str]:
        """Return every property that a program may set."""
        extra = {"region"} if self.regional else set()
        extra |= {"tags", "tagsAll"} if self.tagged else set()
        return self.required | self.optional | extra


def names(text: str) -> frozenset[str]:
    """Return the words of `text`."""
    return frozenset(text.split())
