"""How the probe reaches what it is to try: by a cluster's name, or by a connection string.

Whatever is given for that, or found on the way, is known to the scrubber before anything is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import conninfo

from bluegreen.aws import cluster
from bluegreen.aws.clients import client, default_region
from bluegreen.aws.errors import asking
from bluegreen.errors import Refused
from bluegreen.postgres.server import TCP, Credentials, Server
from bluegreen.probe.row import Connection, Place
from bluegreen.probe.scrub import Scrubber, given

_APPLICATION = "bluegreen probe"
_SECRET_KEYS = ("password", "passfile", "sslkey", "sslcert", "service", "options")


@dataclass(frozen=True, slots=True)
class Reached:
    """A server, and the cluster that it belongs to where that is known."""

    text: str
    """A connection string with a password in it: never shown."""
    place: Place | None = None

    def connect(self, **other: str) -> Connection:
        """Return a connection in autocommit; `other` are keywords of libpq that are to differ."""
        return psycopg.connect(conninfo.make_conninfo(self.text, **other), autocommit=True)


def by_dsn(dsn: str, database: str | None, scrub: Scrubber) -> Reached:
    """Return the server that a connection string leads to.

    Raises `Refused` without quoting the string, which may hold a password anywhere.
    """
    try:
        found = conninfo.conninfo_to_dict(dsn)
        more = {key: value for key, value in TCP.items() if key not in found}
        if database is not None:
            more["dbname"] = database
        text = conninfo.make_conninfo(dsn, application_name=_APPLICATION, **more)
    except psycopg.Error:
        raise Refused(
            "--dsn: is no connection string of libpq; expected keyword=value pairs or a"
            " postgresql:// URI"
        ) from None
    scrub.learn(_of_conninfo(conninfo.conninfo_to_dict(text)))
    return Reached(text)


def by_cluster(
    identifier: str,
    scrub: Scrubber,
    *,
    region: str | None,
    secret_arn: str | None,
    database: str | None,
    reader: bool,
    tls: str,
    ca_file: str | None,
    zone_id: str | None,
) -> Reached:
    """Return the writer, or a reader, of a cluster, opened by a secret. Raises `Refused`, `Retry`.

    Without `secret_arn` it is the one that RDS manages, where there is one.
    """
    chosen = region or default_region()
    scrub.learn(given([("cluster", identifier), ("secret", secret_arn), ("zone", zone_id)]))
    if not chosen:
        raise Refused("--region: not given, and neither environment nor profile say one")
    scrub.learn({chosen: "region"})
    found = cluster.get(chosen, identifier)
    with asking("DescribeDBClusters"):
        answer = client("rds", chosen).describe_db_clusters(DBClusterIdentifier=identifier)
    described = answer["DBClusters"][0]
    scrub.learn(_of_cluster(described))
    arn = secret_arn or described.get("MasterUserSecret", {}).get("SecretArn")
    if arn is None:
        raise Refused(
            "--admin-secret-arn: not given, and RDS manages no secret of this cluster; give the ARN"
            " of a secret with username and password, or use --dsn"
        )
    server = Server.of(found, Credentials(arn, arn, tls=tls, ca_file=ca_file))
    if reader:
        server = replace(server, host=found.reader_endpoint)
    text = server.conninfo(database or "postgres", "admin", application_name=_APPLICATION)
    scrub.learn({arn: "secret", **_of_conninfo(conninfo.conninfo_to_dict(text))})
    place = Place(
        region=chosen,
        cluster=identifier,
        secret_arn=arn,
        zone_id=zone_id,
        host=server.host,
        port=server.port,
        described=described,
    )
    return Reached(text, place)


def _of_conninfo(found: Mapping[str, Any]) -> dict[str, str]:
    kinds = [("host", "host"), ("hostaddr", "host"), ("dbname", "database"), ("user", "role")]
    kinds += [(key, key) for key in _SECRET_KEYS]
    known = given((kind, found.get(key)) for key, kind in kinds)
    hosts = str(found.get("host", "")).split(",")
    return known | given(("host", host) for host in hosts)


def _of_cluster(found: Mapping[str, Any]) -> dict[str, str]:
    kinds = {
        "DatabaseName": "database",
        "DBClusterArn": "arn",
        "DbClusterResourceId": "id",
        "CloneGroupId": "id",
        "DBClusterParameterGroup": "group",
        "DBSubnetGroup": "group",
        "Endpoint": "host",
        "GlobalClusterIdentifier": "global database",
        "HostedZoneId": "id",
        "MasterUsername": "role",
        "ReaderEndpoint": "host",
    }
    members = [("instance", one["DBInstanceIdentifier"]) for one in found["DBClusterMembers"]]
    account = str(found.get("DBClusterArn", "")).split(":")[4:5]
    members += [("account", one) for one in account]
    return given([(kind, found.get(key)) for key, kind in kinds.items()] + members)
