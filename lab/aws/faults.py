"""Faults on request: the next calls of an operation are refused, or what they make turns out bad.

`POST /lab/faults` takes one as JSON: `{"operation": "ModifyDBCluster", "code": "Throttling",
"times": 7}`, or `{"operation": "CreateDBInstance", "outcome": "failed"}`.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from lab.aws.apilog import call_of

PATH = "/lab/faults"

GROUP_COMES_LATER = "group comes later"
"""An outcome of a cluster's making: its parameter group's values wait for a reboot.

AWS asks for five minutes between a group's making and its first use, and says no more than that
the group may otherwise not be complete: what a cluster then shows is a guess.
"""


@dataclass(slots=True)
class Fault:
    """What shall happen to the next `times` calls of an operation: a refusal, or an outcome."""

    operation: str
    code: str = ""
    message: str = "asked for by a test"
    outcome: str = ""
    times: int = 1


class Faults:
    """Those that are still to happen."""

    def __init__(self) -> None:
        self._coming: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Let it happen to the next calls."""
        with self._lock:
            self._coming.append(fault)

    def refusal(self, operation: str) -> Fault | None:
        """Return how a call of now is refused; None where it isn't."""
        return self._take(operation, refuses=True)

    def outcome(self, operation: str) -> str:
        """Return what becomes of what a call of now makes: a status, empty for all is well."""
        found = self._take(operation, refuses=False)
        return found.outcome if found else ""

    def _take(self, operation: str, *, refuses: bool) -> Fault | None:
        with self._lock:
            for fault in self._coming:
                if fault.operation == operation and bool(fault.code) == refuses and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


FAULTS = Faults()
"""Those of this process."""


class Refusing:
    """WSGI middleware: takes faults, and refuses the calls that they say."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answer one request."""
        body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        environment["wsgi.input"] = io.BytesIO(body)
        if environment["PATH_INFO"] == PATH:
            FAULTS.add(Fault(**json.loads(body)))
            return _answer(start, "200 OK", "application/json", "{}")
        fault = FAULTS.refusal(call_of(environment, body)["operation"])
        if fault is None:
            return self._app(environment, start)  # type: ignore[no-any-return]
        if environment.get("HTTP_X_AMZ_TARGET"):
            said = json.dumps({"__type": fault.code, "message": fault.message})
            return _answer(start, "400 Bad Request", "application/x-amz-json-1.1", said)
        said = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(fault.code)}</Code>"
            f"<Message>{escape(fault.message)}</Message></Error>"
            "<RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
        )
        return _answer(start, "400 Bad Request", "text/xml", said)


def _answer(start: Any, status: str, kind: str, text: str) -> Iterable[bytes]:
    sent = text.encode()
    start(status, [("Content-Type", kind), ("Content-Length", str(len(sent)))])
    return [sent]
