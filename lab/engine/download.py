"""The official release of the engine: fetched, checked against its published hash, unpacked."""

from __future__ import annotations

import hashlib
import http.client
import platform
import shutil
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from lab.engine.version import ENGINE_VERSION

OFFICIAL = "https://get.pulumi.com/releases/sdk"
PATIENCE_SECONDS = 5.0
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class NoDownload(Exception):
    """The release can't be had; the message says why, in a few words."""


def download(
    fresh: Path,
    report: Callable[[str], None],
    *,
    base: str = OFFICIAL,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Put the programs of the official release into `fresh`.

    Raises `NoDownload`, after `patience_seconds` at most where nobody answers.
    """
    archive = archive_name()
    hashes = _in_time(lambda: _text(f"{base}/{_hashes_name()}", patience_seconds), patience_seconds)
    expected = _hash_of(archive, hashes)
    report(f"engine: downloading pulumi {ENGINE_VERSION}")
    with tempfile.TemporaryFile() as file:
        found = _fetch(f"{base}/{archive}", file, patience_seconds)
        if found != expected:
            raise NoDownload(f"{archive}: SHA-256 is {found}, expected {expected}")
        file.seek(0)
        _unpack(file, fresh)
    if not (fresh / "pulumi").exists():
        raise NoDownload(f"{archive} holds no pulumi")


def archive_name() -> str:
    system, machine = platform.system().lower(), _MACHINES.get(platform.machine().lower())
    if system not in ("linux", "darwin") or machine is None:
        raise NoDownload(f"no release for {system} on {platform.machine()}")
    return f"pulumi-v{ENGINE_VERSION}-{system}-{machine}.tar.gz"


def _hashes_name() -> str:
    return f"pulumi-{ENGINE_VERSION}-checksums.txt"  # without the v that the archive's name has


def _in_time(work: Callable[[], str], seconds: float) -> str:
    """Return what `work` does, giving up on it after `seconds`.

    A socket's timeout does not cover the look-up of the name: without a name server that answers,
    it takes longer than anyone wants to wait for a fallback.
    """
    answers: list[str] = []
    failures: list[NoDownload] = []

    def run() -> None:
        try:
            answers.append(work())
        except NoDownload as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not answers:
        raise NoDownload(f"no answer within {seconds:g} s")
    return answers[0]


def _text(url: str, seconds: float) -> str:
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            content: bytes = answer.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise NoDownload(_reason(url, error)) from None
    return content.decode(errors="replace")


def _hash_of(archive: str, hashes: str) -> str:
    """Return the archive's SHA-256 out of lines of `hash  name`."""
    for line in hashes.splitlines():
        words = line.split()
        if len(words) == 2 and words[1] == archive:
            return words[0].lower()
    raise NoDownload(f"{_hashes_name()} does not name {archive}")


def _fetch(url: str, file: IO[bytes], seconds: float) -> str:
    """Copy `url` into `file` and return its SHA-256; a pause of `seconds` ends it."""
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
    except (OSError, http.client.HTTPException) as error:
        raise NoDownload(_reason(url, error)) from None
    return digest.hexdigest()


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it is the answer, too
    return f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}"


def _unpack(file: IO[bytes], fresh: Path) -> None:
    """Write the archive's files into `fresh`, whatever folder they are in there."""
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as members:
            for member in members:
                content = members.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                target = fresh / Path(member.name).name
                with content, open(target, "wb") as written:
                    shutil.copyfileobj(content, written)
                target.chmod(0o755 if member.mode & 0o100 else 0o644)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise NoDownload(f"the archive can't be read: {error}") from None
