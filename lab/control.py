"""The lab's control process: AWS, the servers behind it, and DNS, in `python -m lab.aws`."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import dataclass

from lab import interrupts
from lab.place import CHECKOUT, Place

STAY = "stay\n"
"""What its standard input says before it closes where the control process is to live on."""

_START_SECONDS = 60.0
_END_SECONDS = 60.0


class ControlFailed(Exception):
    """The control process did not start; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control process that this process started. It ends when its standard input closes.

    So it does however this process ends, until `stay` has let it live on.
    """

    process: subprocess.Popen[str]
    url: str

    def stay(self) -> None:
        """Let it outlive this process; from here on only a signal ends it."""
        assert self.process.stdin is not None
        self.process.stdin.write(STAY)
        self.process.stdin.close()

    def end(self) -> None:
        """End it with its servers; one that does not end by itself is killed."""
        assert self.process.stdin is not None
        if self.process.stdin.closed:
            self.process.terminate()
        else:
            self.process.stdin.close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(
    place: Place, *, delay_ms: float = 0.0, dns_delay: float | None = None, tls: bool = False
) -> Control:
    """Start the control process and wait until it serves.

    `delay_ms` is added to each way to and from a primary. A change in Route 53 is with resolvers
    after `dns_delay` seconds; None takes `LAB_DNS_DELAY`'s. With `tls` the servers have
    certificates, whose authority is in the place's `ca_file`. Raises `ControlFailed`.
    """
    command = [sys.executable, "-m", "lab.aws", "--root", str(place.servers)]
    command += ["--block", place.block, "--port", str(place.port), "--dns", place.dns]
    command += ["--log", str(place.folder / "api.jsonl")]
    if tls:
        command += ["--ca-file", str(place.ca_file)]
    if delay_ms:
        command += ["--delay-ms", str(delay_ms)]
    if dns_delay is not None:
        command += ["--dns-delay", str(dns_delay)]
    said = place.folder / "control.log"
    control: Control | None = None
    try:
        with interrupts.held(), open(said, "wb") as log:
            process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C is for the one who started it, and he ends this in his own order.
                start_new_session=True,
            )
            control = Control(process, "")
        first = _first_line(process)
    except BaseException:
        if control is not None:
            control.end()
        raise
    if first:
        return Control(process, str(json.loads(first)["url"]))
    control.end()
    words = said.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise ControlFailed(f"lab {place.name}: its AWS did not start: {words[0]}")


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return the line that says where it serves; empty when it ended, or took too long."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    return process.stdout.readline() if ready else ""
