"""Whether what each client recorded about its keys is what the final writer holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.workload.records import ClientLog, Outcome
from lab.workload.transactions import DRAWN, Kind

Key = tuple[int, int]  # client, n


@dataclass(frozen=True, slots=True)
class KeyReport:
    """Keys that are not as recorded; all empty when all is well.

    `lost`: acknowledged, or found after a broken connection, and not there now. `risen`: refused by
    the server or proved absent, and there now. `strange`: there, but no client has recorded it.
    `changed`: there as another kind of transaction than was sent.
    """

    acknowledged: int
    ambiguous: int
    refused: int
    lost: tuple[Key, ...]
    risen: tuple[Key, ...]
    strange: tuple[Key, ...]
    changed: tuple[Key, ...]


def judge(logs: Iterable[ClientLog], present: Mapping[int, Mapping[int, int]]) -> KeyReport:
    """Compare the logs with the keys present: by client, n to kind.

    The key after a client's last record may be there or not: the client may have been killed
    between sending the transaction and recording it.
    """
    counts: Counter[Outcome] = Counter()
    lost: list[Key] = []
    risen: list[Key] = []
    strange: list[Key] = []
    changed: list[Key] = []
    for log in logs:
        keys = dict(present.get(log.client, {}))
        last = max((record.n for record in log.records), default=0)
        for record in log.records:
            counts[record.outcome] += 1
            kind = keys.pop(record.n, None)
            key = (log.client, record.n)
            match record.outcome:
                case Outcome.COMMITTED | Outcome.FOUND:
                    if kind is None or kind == Kind.TOMBSTONE:
                        lost.append(key)
                    elif kind != record.kind:
                        changed.append(key)
                case Outcome.FAILED:
                    if kind is not None:
                        risen.append(key)
                case Outcome.ABSENT:
                    if kind is None:
                        lost.append(key)  # the tombstone was acknowledged, too
                    elif kind != Kind.TOMBSTONE:
                        risen.append(key)
                case Outcome.UNSETTLED:
                    if kind not in (None, Kind.TOMBSTONE, record.kind):
                        changed.append(key)
        strange.extend((log.client, n) for n in sorted(keys) if n != last + 1)
    return KeyReport(
        acknowledged=counts[Outcome.COMMITTED],
        ambiguous=counts[Outcome.FOUND] + counts[Outcome.ABSENT] + counts[Outcome.UNSETTLED],
        refused=counts[Outcome.FAILED],
        lost=tuple(lost),
        risen=tuple(risen),
        strange=tuple(strange),
        changed=tuple(changed),
    )


def drawn_values(logs: Iterable[ClientLog]) -> dict[str, Counter[int]]:
    """Return how often each sequence gave each value to an acknowledged transaction."""
    drawn: dict[str, Counter[int]] = {name: Counter() for names in DRAWN.values() for name in names}
    for log in logs:
        for record in log.records:
            if record.outcome is Outcome.COMMITTED:
                for name, value in zip(DRAWN[Kind(record.kind)], record.values, strict=True):
                    drawn[name][value] += 1
    return drawn
