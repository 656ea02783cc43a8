"""What an AWS error means for the caller: refused, or worth another try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from bluegreen.errors import BlueGreenError, Refused, Retry

# Temporary: too many calls, or the object is being changed at this moment.
_PASSING = frozenset(
    {
        "InternalFailure",
        "InvalidDBClusterStateFault",
        "InvalidDBInstanceState",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
    }
)
_EXPIRED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RequestExpired",
        "UnrecognizedClientException",
    }
)
_LOG_IN = (
    "the AWS credentials have expired or are unknown to AWS; log in again and run it once more, "
    "and for a run of hours use a profile or a role that renews them: a fixed session token ends"
)
_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


def code_of(error: ClientError) -> str:
    """Return the error code that AWS gave, such as `DBClusterNotFoundFault`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explained(error: ClientError | BotoCoreError, asking: str) -> BlueGreenError:
    """Return `error` as an error of this library; `asking` names the call and its object."""
    if isinstance(error, NoCredentialsError):
        return Refused(f"{asking}: no AWS credentials found; log in, or set a profile or a role")
    if isinstance(error, CredentialRetrievalError | SSOError | TokenRetrievalError):
        return Refused(f"{asking}: {_LOG_IN}")
    if isinstance(error, BotoCoreError):
        return Retry(f"{asking}: AWS can't be reached: {type(error).__name__}")
    code = code_of(error)
    text = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
    if code in _EXPIRED:
        return Refused(f"{asking}: {_LOG_IN}")
    if code in _FORBIDDEN:
        return Refused(f"{asking}: not permitted; grant this action in IAM: {text}")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind = Retry if code in _PASSING or status >= 500 else Refused
    return kind(f"{asking}: AWS says {code}: {text}")


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn an error that boto3 raises inside the block into one of this library."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise explained(error, what) from None
