"""What the provider host makes of an error: the user's line, and no traceback around it.

The host of newer SDKs (seen with 3.272; 3.259 has none) answers with `traceback.format_exc()` of
whatever a provider raises, and raising is the only way to fail. So the host's own name for that
module is replaced by an object that returns our errors as they are, and leaves all others alone.
"""

from __future__ import annotations

import sys
import traceback

HOST = "pulumi.dynamic.__main__"


class ProviderError(Exception):
    """What the user reads: one line."""


class _Lines:
    """Stands in for the module `traceback` in the host."""

    def format_exc(self) -> str:
        """Return the line of an error of ours, the traceback of any other."""
        error = sys.exc_info()[1]
        return str(error) if isinstance(error, ProviderError) else traceback.format_exc()


def answer_in_lines() -> None:
    """If this process is the host, make it answer our errors in one line."""
    host = sys.modules["__main__"]
    spec = getattr(host, "__spec__", None)
    if spec is not None and spec.name == HOST and hasattr(host, "traceback"):
        vars(host)["traceback"] = _Lines()
