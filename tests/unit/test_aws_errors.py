"""An AWS error is refused, or worth another try."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from bluegreen.aws.errors import asking, explained
from bluegreen.errors import BlueGreenError, Refused, Retry


def client_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "first line\nsecond line"},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
        },
        "DescribeDBClusters",
    )


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (client_error("Throttling"), Retry, "Throttling"),
        (client_error("InvalidDBClusterStateFault"), Retry, "InvalidDBClusterStateFault"),
        (client_error("Odd", status=503), Retry, "Odd"),
        (client_error("AccessDenied"), Refused, "grant this action in IAM"),
        (client_error("InvalidParameterCombination"), Refused, "InvalidParameterCombination"),
        (client_error("ExpiredToken"), Refused, "log in again and run it once more"),
        (client_error("ExpiredTokenException"), Refused, "a role that renews them"),
        (client_error("InvalidClientTokenId", status=403), Refused, "log in again"),
        (UnauthorizedSSOTokenError(), Refused, "log in again"),
        (TokenRetrievalError(provider="sso", error_msg="x"), Refused, "log in again"),
        (NoCredentialsError(), Refused, "no AWS credentials"),
        (EndpointConnectionError(endpoint_url="http://x"), Retry, "can't be reached"),
    ],
)
def test_the_kind_follows_from_what_the_caller_can_do(
    error: ClientError | BotoCoreError, kind: type[BlueGreenError], words: str
) -> None:
    found = explained(error, "cluster orders-1: DescribeDBClusters")
    assert type(found) is kind
    assert str(found).startswith("cluster orders-1: DescribeDBClusters: ")
    assert words in str(found)
    assert "\n" not in str(found)


def test_asking_turns_errors_inside_the_block() -> None:
    with pytest.raises(Retry, match="cluster x"), asking("cluster x"):
        raise client_error("Throttling")
