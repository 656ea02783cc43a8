"""One arena a file: making servers costs seconds, and a round leaves it as good as new."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.chaos.rounds import Arena


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """Return a deployment under clients; `SEED` in the environment replays a run."""
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
    with Arena.made(seed) as made:
        yield made
        made.compare()
