"""Log sequence numbers: positions in a server's write-ahead log."""

from __future__ import annotations

import re

from bluegreen.errors import Refused

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


class Lsn(int):
    """A byte position in the WAL; compares as a number, prints as PostgreSQL writes it.

    Text compares wrongly (`'0/9' > '0/10'`), and a number outgrows the 53 bits that survive
    Pulumi's protocol. So it is an `Lsn` in the library and a string in every property.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Return the position that PostgreSQL writes as `text`, such as `16/B374D848`."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise Refused(
                f"LSN: got {text!r}, expected two hexadecimal numbers such as 16/B374D848"
            )
        return cls((int(match[1], 16) << 32) | int(match[2], 16))

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({str(self)!r})"
