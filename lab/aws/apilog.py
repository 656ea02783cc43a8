"""A line of JSON for every AWS call, for people and for tests to read."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)")
_HIDDEN = re.compile(r"password|secretstring|secretbinary", re.IGNORECASE)


class ApiLog:
    """WSGI middleware; secret values are left out."""

    def __init__(self, app: Any, path: Path) -> None:
        self._app, self._file = app, path.open("a", buffering=1)
        self._lock = threading.Lock()

    def __call__(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Answer one request and note it."""
        began = time.time()
        body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        environment["wsgi.input"] = io.BytesIO(body)
        statuses: list[str] = []

        def noting(status: str, headers: Any, *rest: Any) -> Any:
            statuses.append(status)
            return start(status, headers, *rest)

        answer = list(self._app(environment, noting))
        line = {
            "at": round(began, 3),
            **call_of(environment, body),
            "status": int((statuses or ["500"])[-1][:3]),
            "ms": round(1000 * (time.time() - began), 1),
        }
        if line["status"] >= 400:
            line["answer"] = b"".join(answer)[:500].decode("utf-8", "replace")
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
        return answer


def call_of(environment: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Return service, Region, operation and parameters of a request; secrets are left out."""
    scope = _SCOPE.search(environment.get("HTTP_AUTHORIZATION", ""))
    region, service = scope.groups() if scope else ("-", "-")
    text = body.decode("utf-8", "replace")
    target = environment.get("HTTP_X_AMZ_TARGET", "")
    if target:  # JSON protocols
        parameters = json.loads(text) if text.startswith("{") else {}
        operation = target.rpartition(".")[2]
    elif "Action=" in text:  # query protocols
        parameters = dict(parse_qsl(text))
        operation = parameters.pop("Action", "-")
        parameters.pop("Version", None)
    else:  # REST
        parameters = {"body": text} if text else {}
        operation = f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}"
    shown = {key: "***" if _HIDDEN.search(key) else value for key, value in parameters.items()}
    return {"service": service, "region": region, "operation": operation, "parameters": shown}
