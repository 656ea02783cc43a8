"""How much is left to apply, how fast it goes, and when it will be done."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# Long enough to even out a large transaction, short enough to follow a change of load.
_WINDOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Two positions at one moment: `seconds` of any one clock, positions in bytes of WAL."""

    seconds: float
    written: int
    applied: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What the samples of the last seconds show; rates are None before there are two."""

    bytes_left: int
    applied_per_second: float | None
    written_per_second: float | None

    @property
    def seconds_left(self) -> float | None:
        """Return how long it takes at this pace; None if for ever, or not known yet."""
        if self.bytes_left <= 0:
            return 0.0
        if self.applied_per_second is None or self.written_per_second is None:
            return None
        net = self.applied_per_second - self.written_per_second
        return self.bytes_left / net if net > 0 else None

    def __str__(self) -> str:
        text = f"{megabytes(self.bytes_left)} left"
        if self.applied_per_second is None:
            return text
        text += f" at {megabytes(self.applied_per_second)}/s"
        if self.seconds_left is not None:
            return f"{text}, about {duration(self.seconds_left)}"
        return f"{text}, not getting nearer"


class Backlog:
    """The samples of the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def note(self, sample: Sample) -> Pace:
        """Add a sample and return the pace.

        Positions that go back, as after a crash or when they are measured otherwise, restart it.
        """
        if self._samples and (
            sample.written < self._samples[-1].written or sample.applied < self._samples[-1].applied
        ):
            self._samples.clear()
        self._samples.append(sample)
        while sample.seconds - self._samples[0].seconds > _WINDOW_SECONDS:
            self._samples.popleft()
        first = self._samples[0]
        elapsed = sample.seconds - first.seconds
        left = max(0, sample.written - sample.applied)
        if elapsed <= 0:
            return Pace(left, None, None)
        return Pace(
            left,
            (sample.applied - first.applied) / elapsed,
            (sample.written - first.written) / elapsed,
        )


def megabytes(count: float) -> str:
    """Return a count of bytes for people."""
    return f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Return a time for people: seconds, or hours and minutes."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
