"""AWS's errors in the official plugin's words, as recorded from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from pulumi.runtime.proto import provider_pb2, status_pb2

from lab.aws_plugin.spec import PluginError, names

# By these AWS says that the same call is fine later.
SCARCE = names(
    """BandwidthLimitExceeded EC2ThrottledException LimitExceededException PriorRequestNotComplete
    ProvisionedThroughputExceededException RequestLimitExceeded RequestThrottled
    RequestThrottledException RequestTimeout RequestTimeoutException SlowDown
    ThrottledException Throttling ThrottlingException TooManyRequestsException
    TransactionInProgressException"""
)


def code(error: Exception) -> str:
    """Return AWS's error code, empty for other errors."""
    answer = getattr(error, "response", None)
    return str(answer["Error"]["Code"]) if answer else ""


def message(error: Exception) -> str:
    """Return AWS's own words, empty for other errors."""
    answer = getattr(error, "response", None)
    return str(answer["Error"].get("Message", "")) if answer else ""


def said(error: Any) -> str:
    """Return an error of AWS as the official plugin's SDK words it."""
    about = error.response["ResponseMetadata"]
    service = getattr(error, "service", "AWS")
    attempts = getattr(error, "attempts", 1)
    gave_up = f"exceeded maximum number of attempts, {attempts}, " if attempts > 1 else ""
    unmodelled = "" if getattr(error, "modelled", False) else "api error "
    return (
        f"operation error {service}: {error.operation_name}, {gave_up}"
        f"https response error StatusCode: {about['HTTPStatusCode']},"
        f" RequestID: {about.get('RequestId', '')},"
        f" {unmodelled}{code(error)}: {message(error)}"
    )


def text_of(error: Exception) -> str:
    """Return what is told of an error that a call into AWS ended with."""
    return said(error) if code(error) else str(error)


def init_failed(context: Any, message: str, identity: str, properties: Any, inputs: Any) -> None:
    """End a Create of something that is there and not as it should be.

    The engine keeps it under its id, with the errors, and lets the next update bring it about.
    """
    detail = provider_pb2.ErrorResourceInitFailed(
        id=identity, properties=properties, reasons=[message], inputs=inputs
    )
    packed = any_pb2.Any()
    packed.Pack(detail)
    number: int = grpc.StatusCode.UNKNOWN.value[0]
    status = status_pb2.Status(code=number, message=message, details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, message)


def one_error(text: str) -> str:
    """Return a failure in the form in which Terraform's errors come."""
    return f"1 error occurred:\n\t* {text}\n\n"


@contextmanager
def explained(context: Any, what: str = "") -> Iterator[None]:
    """Turn an error into the call's failure; `what` goes before it, such as `updating urn:…`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
        return
    except (BotoCoreError, ClientError, PluginError) as error:
        failure = one_error(text_of(error))
    context.abort(grpc.StatusCode.UNKNOWN, f"{what}: {failure}" if what else failure)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say of an error of AWS what was being done, such as `deleting RDS Cluster (blue)`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise PluginError(f"{what}: {text_of(error)}") from None
