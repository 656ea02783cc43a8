"""AWS's errors that moto lacks, raised as moto's own so that it maps them to the right service."""

from __future__ import annotations

from typing import Any

import moto.rds.exceptions as rds
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.route53.exceptions import Route53ClientError

RdsError = rds.RDSClientError


def invalid_batch(message: str) -> Route53ClientError:
    """Return Route 53's refusal of a change batch."""
    return Route53ClientError("InvalidChangeBatch", f"[{message}]")


def unknown_action(response: BaseResponse, error: Exception) -> Any:
    """Return a 400 for what moto can't do.

    moto would answer with an HTML page and 500, which SDKs take for a passing failure: the official
    plugin retries it up to 25 times.
    """
    # moto derives the service of an error from the module of its class.
    kind = type("InvalidAction", (ServiceException,), {"__module__": type(response).__module__})
    failure = kind("InvalidAction", f"the lab's AWS can't do this: {type(error).__name__}: {error}")
    return response.serialized(ActionResult(failure))


class Answering400:
    """Mixed into a service's responses: what it can't do is the caller's error, not a 500."""

    def call_action(self) -> Any:
        """Answer one request."""
        try:
            return super().call_action()  # type: ignore[misc]
        except (NotImplementedError, KeyError, TypeError, AttributeError) as error:
            return unknown_action(self, error)
