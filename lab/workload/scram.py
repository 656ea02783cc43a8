"""Logins by SCRAM with the slow part done once, as pgbouncer keeps its keys.

Deriving the keys from the password takes 2 ms of processor time by design. Real clients spend that
on machines of their own; in the lab it would be taken from the servers at the very moment when
every client logs in again.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass, field
from functools import cache

from lab.workload.login import Login

_ITERATIONS = 4096  # PostgreSQL's default


@dataclass(frozen=True, slots=True)
class Keys:
    """What a client needs to log in, and the server to let it; see RFC 5802, section 3."""

    client: bytes = field(repr=False)
    server: bytes = field(repr=False)
    salt: bytes

    def verifier(self) -> str:
        """Return what PostgreSQL stores, to be given as the password of CREATE ROLE."""
        stored = _text(hashlib.sha256(self.client).digest())
        return f"SCRAM-SHA-256${_ITERATIONS}:{_text(self.salt)}${stored}:{_text(self.server)}"

    def parameters(self) -> dict[str, str]:
        """Return the connection parameters, known to libpq from 18 on, that replace a password."""
        return {"scram_client_key": _text(self.client), "scram_server_key": _text(self.server)}


@cache
def keys(login: Login) -> Keys:
    """Return the keys of `login`; the salt follows from the name, so that both ends agree on it."""
    salt = hashlib.sha256(login.user.encode()).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", login.password.encode(), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return Keys(client, hmac.digest(salted, b"Server Key", "sha256"), salt)


def _text(value: bytes) -> str:
    return b64encode(value).decode("ascii")
