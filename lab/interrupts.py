"""Signals that end this process, held back while it has started something and not noted it yet."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held() -> Iterator[None]:
    """Let signals wait until the block is over: what they raise is raised then, not within it.

    By handlers and not by a mask, which a child would inherit and another thread ignore.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # nothing is raised in other threads
        return
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}
    try:
        for number in ENDING:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                before[number] = handler
                signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def ignore() -> None:
    """Let no signal end this process from here on."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
