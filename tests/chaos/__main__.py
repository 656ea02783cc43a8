"""The long run: random faults at random steps, to and fro, until the time is over.

`make chaos SECONDS=3600 SEED=...`: one running line a round; figures go to a JSON file. The first
rule that does not hold ends it, with everything that is known.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bluegreen.switch.step import Step
from tests.chaos.faults import DNS, Fault
from tests.chaos.rounds import Arena, Broken, Outcome

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results" / "chaos.json"

# What happens behind the fence is what can go wrong; the other steps come too.
_WEIGHTS = {
    Step.REGISTER: 2,
    Step.FENCE: 4,
    Step.DRAIN: 3,
    Step.SEQUENCES: 5,
    Step.DECIDE: 4,
    Step.OPEN: 3,
}


def choose(chance: random.Random) -> tuple[Fault, Step]:
    """Choose what is broken, and where."""
    fault = chance.choice(list(Fault))
    if fault in DNS:
        return fault, chance.choice([Step.SEQUENCES, Step.DECIDE, Step.OPEN])
    (step,) = chance.choices(list(Step), [_WEIGHTS.get(step, 1) for step in Step])
    return fault, step


def summary(
    outcomes: list[Outcome], *, seed: int, seconds: float, failure: str | None
) -> dict[str, Any]:
    """Return the figures of a run."""
    opened = [one for one in outcomes if one.until_open_ms is not None]
    longest: dict[str, float] = {}
    for one in opened:
        assert one.until_open_ms is not None
        longest[one.fault] = max(longest.get(one.fault, 0.0), one.until_open_ms)
    by_fault: dict[str, Counter[str]] = {}
    for one in outcomes:
        by_fault.setdefault(one.fault, Counter())[one.step] += 1
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, shared with other work",
        "seed": seed,
        "seconds": round(seconds),
        "rounds": len(outcomes),
        "switches": len(outcomes) + sum(one.next == "made anew" for one in outcomes),
        "by_fault": {fault: dict(steps) for fault, steps in sorted(by_fault.items())},
        "ended": dict(Counter(one.ended.partition(":")[0] for one in outcomes)),
        "next_switch": dict(Counter(one.next for one in outcomes)),
        "none_open_until_next": len(outcomes) - len(opened),
        "longest_until_open_ms": dict(sorted(longest.items())),
        "lost": 0 if failure is None else None,
        "doubled": 0 if failure is None else None,
        "both_writable": 0 if failure is None else None,
        "failure": failure,
    }


def main() -> int:
    """Play until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0, help="0 takes one by chance")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    seed = options.seed or random.SystemRandom().randrange(1, 10**9)
    _say(f"seed {seed}, {options.seconds:g} s")
    outcomes: list[Outcome] = []
    began, failure = time.monotonic(), None
    with Arena.made(seed) as arena:
        try:
            while time.monotonic() - began < options.seconds:
                fault, step = choose(arena.chance)
                outcome = arena.play(fault, step)
                outcomes.append(outcome)
                _say(_line(len(outcomes), outcome))
            arena.compare()
        except Broken as error:
            failure = str(error)
            _say(failure)
        except KeyboardInterrupt:
            _say("interrupted; what was played until now counts, the sides were not compared")
    seconds = time.monotonic() - began
    found = summary(outcomes, seed=seed, seconds=seconds, failure=failure)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(found, indent=1) + "\n")
    _say(json.dumps(found, indent=1))
    return 1 if failure else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _line(number: int, one: Outcome) -> str:
    opened = "none" if one.until_open_ms is None else f"{one.until_open_ms:.0f} ms"
    gate = "" if one.gate else " (not reached)"
    return (
        f"{number:4} {one.seconds:5.1f} s  {one.fault} after {one.step}{gate}, {one.direction}:"
        f" {one.ended}; open after {opened}; next switch {one.next}"
    )


if __name__ == "__main__":
    sys.exit(main())
