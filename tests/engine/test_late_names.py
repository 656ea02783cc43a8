"""Names that resolvers see later, as Route 53's are: `pulumi up` says when, and nothing waits."""

from __future__ import annotations

import os
import re

import pytest

from tests.fixtures.lab import RETIRABLE, running

_DELAY = 15


@pytest.mark.slow
def test_the_way_back_runs_before_the_names_are_in_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DNS_DELAY", str(_DELAY))
    with running(f"late-{os.getpid()}") as lab:
        stack = lab.new_stack(*RETIRABLE)
        lab.up(stack)
        lab.set(stack, "bluegreen:cutover=true")
        said = lab.up(stack)
        runs = re.search(r"app-reverse-subscription created", said)
        in_sync = re.search(r"names: Route 53 is in sync (?P<seconds>[\d.]+) s after", said)
        assert runs is not None, said
        assert in_sync is not None, said
        assert runs.start() < in_sync.start(), said
        assert float(in_sync["seconds"]) >= _DELAY
