"""`bluegreen probe --cluster`: AWS's calls, and a server that is reached by them."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
import requests

from bluegreen.aws import clients
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, PASSWORD, MakeServer
from tests.fixtures.probed import DATABASE, Run, named_in, plant, run
from tests.fixtures.rds import ACCOUNT, REGION, PlacedClusters

CLUSTER, SECRET, ZONE = "zebra-orders-1", "quagga-secret", "okapi.example.org"


@pytest.fixture
def server(make_server: MakeServer) -> LabServer:
    """Return a server with an application's database."""
    made = make_server(18)
    plant(made)
    return made


@pytest.fixture
def secret(server: LabServer, placed: PlacedClusters) -> str:
    """Return the secret of a cluster that stands on the server."""
    arn = placed.secret(SECRET, MASTER, PASSWORD)
    placed.place(server, CLUSTER, DatabaseName=DATABASE)
    return arn


def _probe(secret: str, *more: str) -> Run:
    arguments = ["--cluster", CLUSTER, "--region", REGION, "--admin-secret-arn", secret]
    return run(*arguments, "--tls", "disable", "--database", DATABASE, "--json", *more)


def _zone() -> tuple[Any, str]:
    route53 = boto3.client("route53", region_name=REGION)
    zone = route53.create_hosted_zone(Name=ZONE, CallerReference="one")["HostedZone"]["Id"]
    return route53, str(zone)


def _named(done: Run, server: LabServer) -> list[str]:
    own = (CLUSTER, SECRET, ZONE, "okapi", REGION, ACCOUNT)
    return [name for name in own if name in done.out + done.err] + named_in(
        done.out + done.err, server
    )


def test_a_cluster_is_reached_and_every_call_sent(server: LabServer, secret: str) -> None:
    _, zone = _zone()
    done = _probe(secret, "--write", "--zone", zone)
    works = done.what("works")
    assert {
        "describe the cluster",
        "describe its writer",
        "the secret that opens it",
        "a token of IAM",
        "the hosted zone",
        "its records",
    } <= set(works)
    # A plain moto answers these two with a failure of its own.
    assert {"modify a cluster", "versions that it can be upgraded to"} <= set(done.what("refused"))
    assert works["modify an instance"] == "DBInstanceNotFound"
    assert works["reboot an instance"] == "DBInstanceNotFound"
    assert works["make a slot"]
    assert done.found["left"] == []
    assert _named(done, server) == []


def test_a_batch_that_is_taken_differs_and_is_taken_back(secret: str) -> None:
    route53, zone = _zone()
    before = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    done = _probe(secret, "--write", "--zone", zone)
    what = "a batch that has a record twice: TXT, of the probe's own"
    assert done.what("differs")[what] == "taken, expected to be refused"
    after = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert after == before


def test_without_write_nothing_that_changes_is_sent(secret: str) -> None:
    said = _probe(secret).what("not tried")
    for what in ("modify a cluster", "modify an instance", "reboot an instance"):
        assert said[what] == "needs --write"
    assert said["the hosted zone"] == "needs --zone"


def test_a_call_that_is_refused_is_said_with_its_code(
    server: LabServer, secret: str, moto_url: str
) -> None:
    # What opens the server comes first; then nobody has credentials any more.
    requests.post(f"{moto_url}/moto-api/reset-auth", data="3", timeout=10).raise_for_status()
    try:
        done = _probe(secret)
    finally:
        requests.post(f"{moto_url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()
    refused = done.what("refused")
    for what in ("describe the cluster", "describe its writer", "the secret that opens it"):
        assert "InvalidClientTokenId" in refused[what]
    assert done.code == 1
    assert _named(done, server) == []


def test_a_zone_that_is_not_there_is_refused(secret: str) -> None:
    done = _probe(secret, "--write", "--zone", "Z0123456789ABCDEFGHIJ")
    assert done.what("refused")["the hosted zone"].startswith("NoSuchHostedZone")
    assert "Z0123456789" not in done.out


def test_a_reader_is_reached_by_the_readers_endpoint(server: LabServer, secret: str) -> None:
    # The endpoint of the API's readers leads nowhere here; that it is asked for is what shows.
    done = _probe(secret, "--reader")
    assert done.code == 2
    assert "can't go on" in done.err
    assert _named(done, server) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cluster", "quagga-1", "--region", REGION], "not found"),
        (["--cluster", CLUSTER, "--region", REGION], "--admin-secret-arn: not given"),
        (
            ["--cluster", CLUSTER, "--region", REGION, "--admin-secret-arn", "quagga"],
            "ResourceNotFoundException",
        ),
    ],
    ids=["no cluster", "no secret given", "no such secret"],
)
@pytest.mark.usefixtures("secret")
def test_what_is_not_there_is_an_error_without_a_name(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert said in done.err
    assert not [name for name in ("quagga", CLUSTER, REGION) if name in done.err]


def test_no_region_is_said(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    clients.client.cache_clear()
    done = run("--cluster", CLUSTER, "--admin-secret-arn", secret)
    assert done.code == 2
    assert done.err.startswith("--region: not given")


@pytest.mark.usefixtures("unreachable_aws")
def test_aws_out_of_reach_is_an_error_without_a_name() -> None:
    done = run("--cluster", "zebra-1", "--region", "eu-west-1")
    assert done.code == 2
    assert "AWS can't be reached" in done.err
    assert "zebra" not in done.err
