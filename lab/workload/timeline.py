"""Who was the writer when: switches, write outages and overlaps, from what clients saw.

A commit happened on its server at some moment between sending and acknowledgement; only what
follows from that for certain is called an overlap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from lab.workload.address import Address
from lab.workload.probe import Look

# A pause of one server in which another one commits is a change of the writer, if it is this long;
# shorter ones are two writers at once. No switch and way back takes less than seconds.
_REIGN_NS = 250_000_000


class Commit(NamedTuple):
    """An acknowledged transaction; times in ns of one monotonic clock."""

    client: int
    server: Address
    sent_ns: int
    acked_ns: int


@dataclass(frozen=True, slots=True)
class Reign:
    """A time during which one server acknowledged commits without giving way to another."""

    server: Address
    commits: tuple[Commit, ...]  # by acknowledgement

    @property
    def first_ack_ns(self) -> int:
        """Return when its first commit was acknowledged."""
        return self.commits[0].acked_ns

    @property
    def last_ack_ns(self) -> int:
        """Return when its last commit was acknowledged."""
        return self.commits[-1].acked_ns

    @property
    def last_sent_ns(self) -> int:
        """Return when the latest of its transactions was sent."""
        return max(commit.sent_ns for commit in self.commits)


@dataclass(frozen=True, slots=True)
class Switch:
    """The writer moved from `old` to `new`.

    `outage_ms`: from the last acknowledged commit on the old to the first on the new, of all
    clients; `worst_client_ms`: the longest of the same per client. `silent_clients` had no commit
    on one of the two sides and so no outage to measure. `late_acks` on the old side came after the
    first on the new one, for transactions sent before it: that is no proof of anything.
    """

    old: Address
    new: Address
    at_ns: int
    outage_ms: float
    worst_client_ms: float
    worst_client: int | None
    silent_clients: int
    late_acks: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Proof that two servers took writes at once: `server` still did `by_ms` after `other` did."""

    server: Address
    other: Address
    at_ns: int
    by_ms: float


def reigns(commits: Iterable[Commit]) -> list[Reign]:
    """Return the reigns by their first acknowledgement."""
    by_server: dict[Address, list[Commit]] = defaultdict(list)
    for commit in sorted(commits, key=lambda commit: commit.acked_ns):
        by_server[commit.server].append(commit)
    found: list[Reign] = []
    for server, mine in by_server.items():
        others = sorted(
            commit.acked_ns
            for other, theirs in by_server.items()
            if other != server
            for commit in theirs
        )
        start = 0
        for index, (before, after) in enumerate(pairwise(mine), start=1):
            gap_ns = after.acked_ns - before.acked_ns
            if gap_ns >= _REIGN_NS and _any_within(others, before.acked_ns, after.acked_ns):
                found.append(Reign(server, tuple(mine[start:index])))
                start = index
        found.append(Reign(server, tuple(mine[start:])))
    return sorted(found, key=lambda reign: reign.first_ack_ns)


def _any_within(times: Sequence[int], after: int, before: int) -> bool:
    return bisect_left(times, before) > bisect_right(times, after)


def overlaps(found: Sequence[Reign]) -> list[Overlap]:
    """Return each reign that took a transaction sent after a later reign's first commit."""
    proven = []
    for index, first in enumerate(found):
        for second in found[index + 1 :]:
            by_ns = first.last_sent_ns - second.first_ack_ns
            if first.server != second.server and by_ns > 0:
                at_ns = second.first_ack_ns
                proven.append(Overlap(first.server, second.server, at_ns, by_ns / 1e6))
    return proven


def switches(found: Sequence[Reign]) -> list[Switch]:
    """Return the moves of the writer, in order."""
    rulers: list[Reign] = []
    for reign in found:
        # What lies wholly inside another's time is a stray write, not a writer.
        if not rulers or reign.last_ack_ns > rulers[-1].last_ack_ns:
            rulers.append(reign)
    return [_switch(old, new) for old, new in pairwise(rulers) if old.server != new.server]


def _switch(old: Reign, new: Reign) -> Switch:
    last_on_old = {commit.client: commit.acked_ns for commit in old.commits}
    first_on_new = {commit.client: commit.acked_ns for commit in reversed(new.commits)}
    outages = {
        client: first_on_new[client] - last_on_old[client]
        for client in last_on_old.keys() & first_on_new.keys()
    }
    worst = max(outages, key=lambda client: outages[client], default=None)
    return Switch(
        old=old.server,
        new=new.server,
        at_ns=new.first_ack_ns,
        outage_ms=max(0, new.first_ack_ns - old.last_ack_ns) / 1e6,
        worst_client_ms=0.0 if worst is None else max(0, outages[worst]) / 1e6,
        worst_client=worst,
        silent_clients=len(last_on_old.keys() ^ first_on_new.keys()),
        late_acks=sum(commit.acked_ns > new.first_ack_ns for commit in old.commits),
    )


def longest_gap_ms(commits: Iterable[Commit]) -> float:
    """Return the longest time without an acknowledged commit of anybody."""
    times = sorted(commit.acked_ns for commit in commits)
    return max((after - before for before, after in pairwise(times)), default=0) / 1e6


class Open(NamedTuple):
    """A server was open for writing during all of this time, by one and the same session."""

    server: Address
    start_ns: int
    end_ns: int


def open_spans(server: Address, looks: Sequence[Look]) -> list[Open]:
    """Return when `server` was open for certain.

    A session that may write at two moments may write all the time between them; so from the end of
    its first look to the start of its last. A session with one look only proves no span.
    """
    sessions: dict[int, list[Look]] = defaultdict(list)
    for look in looks:
        if look.writable:
            sessions[look.session].append(look)
    spans = [
        Open(server, seen[0].end_ns, seen[-1].start_ns)
        for seen in sessions.values()
        if len(seen) > 1
    ]
    return sorted(spans, key=lambda span: span.start_ns)


def open_overlaps(looks: Mapping[Address, Sequence[Look]]) -> list[Overlap]:
    """Return each time at which two servers were open for writing at once, for certain."""
    spans = [span for server, seen in looks.items() for span in open_spans(server, seen)]
    proven = []
    for one in spans:
        for two in spans:
            start_ns = max(one.start_ns, two.start_ns)
            end_ns = min(one.end_ns, two.end_ns)
            if one.server < two.server and end_ns > start_ns:
                proven.append(Overlap(one.server, two.server, start_ns, (end_ns - start_ns) / 1e6))
    return sorted(proven, key=lambda overlap: overlap.at_ns)
