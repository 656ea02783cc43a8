"""Where SQL goes: an environment's writer endpoint, and connections to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, Self

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from psycopg import conninfo

from bluegreen.aws import cluster as clusters
from bluegreen.aws.clients import client
from bluegreen.aws.cluster import Cluster
from bluegreen.errors import Refused, Retry, Unreachable
from bluegreen.postgres import versions
from bluegreen.postgres.connection import Connection
from bluegreen.postgres.connection import Row as Row
from bluegreen.postgres.remedies import REPLICATE, quoted
from bluegreen.postgres.versions import Feature

Role = Literal["admin", "replication"]

# Values of the tool's own sessions. A role or a database may have others, and each of these would
# break something: a read-only default the un-fencing, an asynchronous commit the durability of the
# decision (seen: `decided` was `preparing` again after kill -9), another isolation the barrier's
# search for older transactions, a timeout any long wait, another role the right to see and end
# sessions, a check on the client the server fuse, another encoding the names of tables. Here is
# only what every version knows and every role may set: otherwise the server refuses the connection.
SESSION = (
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("synchronous_commit", "on"),
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("client_connection_check_interval", "0"),
    ("exit_on_error", "off"),
    ("role", "none"),
    ("row_security", "on"),
    ("search_path", "pg_catalog"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("array_nulls", "on"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("check_function_bodies", "on"),
    ("default_tablespace", ""),
    ("default_table_access_method", "heap"),
    ("plpgsql.extra_errors", "none"),
    # By this a client that has died silently loses its locks.
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
)
OPTIONS = " ".join("-c {}={}".format(name, value.replace(" ", "\\ ")) for name, value in SESSION)

# Known from 17 only. Event triggers are the application's code, which has no business in the tool's
# sessions; a role may turn them off that is a superuser or was granted it.
_FROM_17 = """\
SELECT pg_catalog.set_config('transaction_timeout', '0', false),
       CASE WHEN pg_catalog.has_parameter_privilege('event_triggers', 'SET')
            THEN pg_catalog.set_config('event_triggers', 'off', false) END"""

# A dead peer is noticed within about ten seconds; with Linux's defaults it takes two hours.
TCP = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_CONNECT_SECONDS = 10
_LOOK_SECONDS = 2  # for a question about another connection, connecting included

# What a server refuses for good, with the remedy; anything else may be temporary.
_REFUSALS = (
    ("password authentication failed", "wrong user or password; fix the secret {arn}"),
    ("no password supplied", "no password: fix the secret {arn}"),
    ("not permitted to log in", "ALTER ROLE {role} LOGIN"),
    ("permission denied for database", "GRANT CONNECT ON DATABASE {database} TO {role}"),
    # 16 and later; before
    ("permission denied to start WAL sender", REPLICATE),
    ("must be superuser or replication role", REPLICATE),
    ("exceeds max_wal_senders", "raise max_wal_senders, or end what replicates from there"),
    ('exceeds "max_wal_senders"', "raise max_wal_senders, or end what replicates from there"),
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """References to credentials, never the credentials: these are fetched for every connection."""

    admin_secret_arn: str
    replication_secret_arn: str
    tls: str = "verify-full"
    ca_file: str | None = None
    admin_iam_user: str | None = None
    subscription_tls: str | None = None
    """TLS mode of a server that subscribes; None takes `tls`."""
    subscription_ca_file: str | None = None
    """What that server trusts, a path of its own host; None takes its setting `ssl_ca_file`."""

    def to_props(self) -> dict[str, Any]:
        """Return the `credentials` property of a resource; earlier releases had no later fields."""
        later = ("subscription_tls", "subscription_ca_file")
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None or name not in later
        }

    def replication_version(self, region: str) -> str | None:
        """Return which version of the replication secret is in force; this is no secret itself."""
        found = _secret(self.replication_secret_arn, region).get("VersionId")
        return None if found is None else str(found)


@dataclass(frozen=True, slots=True)
class Server:
    """The writer endpoint of a cluster, with the references that open it."""

    cluster: str
    region: str
    host: str
    port: int
    credentials: Credentials
    account: str | None = None
    """The AWS account that the cluster is in; None where nobody has recorded it."""

    @classmethod
    def of(cls, cluster: Cluster, credentials: Credentials) -> Self:
        """Return the writer endpoint of `cluster`, opened by `credentials`."""
        return cls(
            cluster.identifier,
            cluster.region,
            cluster.endpoint,
            cluster.port,
            credentials,
            cluster.account,
        )

    def find_cluster(self) -> Cluster | None:
        """Return its cluster as AWS describes it, None when it is gone; errors as `cluster.find`.

        Always asked in the cluster's own account: another one would say that it is gone.
        """
        return clusters.find(self.region, self.cluster, account=self.account)

    def get_cluster(self) -> Cluster:
        """Return its cluster; raises `Refused` when it is gone, and as `find_cluster` does."""
        return clusters.get(self.region, self.cluster, account=self.account)

    def to_props(self) -> dict[str, Any]:
        """Return the `server` property of a resource, without what nobody has chosen."""
        props = asdict(self)
        if self.account is None:
            del props["account"]
        props["credentials"] = self.credentials.to_props()
        return props

    def __str__(self) -> str:
        return self.cluster

    def conninfo(self, database: str, role: Role, *, application_name: str = "bluegreen") -> str:
        """Return a libpq connection string; it holds the password, so never log or store it."""
        chosen = self.credentials
        return self._conninfo(
            database, role, application_name, tls=chosen.tls, ca_file=chosen.ca_file
        )

    def subscription_conninfo(self, database: str, name: str, *, ca_file: str | None) -> str:
        """Return what subscription `name` connects by; it holds the password, as `conninfo` does.

        libpq runs on the subscriber's host there, where the files of this machine are not:
        `ca_file` is what the subscriber trusts itself.
        """
        chosen = self.credentials
        tls = chosen.subscription_tls or chosen.tls
        trusted = chosen.subscription_ca_file or ca_file
        return self._conninfo(
            database,
            "replication",
            name,
            tls=tls,
            ca_file=trusted if tls.startswith("verify-") else None,
        )

    def _conninfo(
        self, database: str, role: Role, application_name: str, *, tls: str, ca_file: str | None
    ) -> str:
        user, password = self._login(role)
        return conninfo.make_conninfo(
            host=self.host,
            port=self.port,
            dbname=database,
            user=user,
            password=password,
            sslmode=tls,
            sslrootcert=ca_file,
            application_name=application_name,
            **TCP,
        )

    def connect(
        self, database: str, *, role: Role = "admin", application_name: str = "bluegreen"
    ) -> Connection:
        """Return an autocommit connection with the tool's own session values.

        Raises `Unreachable` when the server can't be reached, `Refused` when it says no.
        """
        conn = self._open(database, role, application_name, seconds=_CONNECT_SECONDS)
        conn.limit_seconds = None
        conn.another = partial(self._open, database, role, "bluegreen look", seconds=_LOOK_SECONDS)
        return conn

    def _open(
        self, database: str, role: Role, application_name: str, *, seconds: int
    ) -> Connection:
        """Connect; no wait takes longer than `seconds`."""
        text = self.conninfo(database, role, application_name=application_name)
        try:
            conn = Connection.connect(
                text, autocommit=True, connect_timeout=seconds, options=OPTIONS
            )
        except psycopg.OperationalError as error:
            raise self._connect_error(error, text, database, role) from None
        conn.where = f"database {database!r} on {self.cluster}"
        conn.limit_seconds = seconds
        if versions.supports(conn, Feature.EVENT_TRIGGERS_OFF):
            try:
                conn.execute(_FROM_17)
            except psycopg.OperationalError as error:
                conn.close()
                raise self._connect_error(error, text, database, role) from None
        return conn

    def try_replication(self, database: str) -> None:
        """Open and close a connection that could stream changes, as the replication role.

        Raises as `connect` does; it needs one free WAL sender for that moment.
        """
        text = self.conninfo(database, "replication")
        try:
            psycopg.connect(text, replication="database").close()
        except psycopg.OperationalError as error:
            raise self._connect_error(error, text, database, "replication") from None

    def _connect_error(
        self, error: psycopg.OperationalError, text: str, database: str, role: Role
    ) -> Refused | Unreachable:
        # libpq's words name host, user and database, never the password.
        said = " ".join(str(error).split())
        where = f"database {database!r} on {self.cluster} ({self.host}:{self.port}) as {role}"
        user = str(conninfo.conninfo_to_dict(text).get("user"))
        # psycopg gets no SQLSTATE from a failed connection, so the server's message must do.
        fatal = said.rpartition("FATAL:")[2].strip() if "FATAL:" in said else ""
        for words, remedy in _REFUSALS:
            if words in said:
                named = remedy.format(
                    arn=self._arn(role), role=quoted(user), database=quoted(database)
                )
                return Refused(f"{where}: {fatal or said}; {named}")
        if fatal and "does not exist" in fatal:
            return Refused(f"{where}: {fatal}")
        return Unreachable(f"{where}: can't connect: {said}")

    def _arn(self, role: Role) -> str:
        chosen = self.credentials
        return chosen.admin_secret_arn if role == "admin" else chosen.replication_secret_arn

    def _login(self, role: Role) -> tuple[str, str]:
        """Fetch and return user and password."""
        user = self.credentials.admin_iam_user
        if role == "admin" and user is not None:
            token = client("rds", self.region).generate_db_auth_token(
                DBHostname=self.host, Port=self.port, DBUsername=user, Region=self.region
            )
            return user, str(token)
        return secret_login(self._arn(role), self.region)


# Logins handed over by a process that had fetched them, such as a switch to its fuse.
_remembered: dict[str, tuple[str, str]] = {}


def logins_of(*servers: Server) -> dict[str, tuple[str, str]]:
    """Return the logins of `servers` as they are now, for `remember` in another process."""
    found = {}
    for one in servers:
        chosen = one.credentials
        found[chosen.replication_secret_arn] = secret_login(
            chosen.replication_secret_arn, one.region
        )
        if chosen.admin_iam_user is None:
            found[chosen.admin_secret_arn] = secret_login(chosen.admin_secret_arn, one.region)
    return found


def remember(logins: Mapping[str, Sequence[str]]) -> None:
    """Use `logins` in this process from now on, without asking AWS for these secrets."""
    _remembered.update({arn: (user, password) for arn, (user, password) in logins.items()})


def secret_login(arn: str, region: str) -> tuple[str, str]:
    """Return user name and password from the secret `arn`, JSON with `username` and `password`.

    The keys are those that RDS itself writes into its secrets.
    """
    if arn in _remembered:
        return _remembered[arn]
    text = _secret(arn, region)["SecretString"]
    try:
        secret = json.loads(text)
        return str(secret["username"]), str(secret["password"])
    except (ValueError, TypeError, KeyError):
        # `from None`: the JSON error would quote the secret's text.
        raise Refused(
            f"secret {arn}: expected JSON with the keys username and password, as RDS writes it"
        ) from None


def _secret(arn: str, region: str) -> Mapping[str, Any]:
    # An ARN names its Region, which may be another than the cluster's.
    parts = arn.split(":")
    where = parts[3] if len(parts) > 3 and parts[3] else region
    try:
        return dict(client("secretsmanager", where).get_secret_value(SecretId=arn))
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise Refused(
            f"secret {arn}: {code}; check the ARN and secretsmanager:GetSecretValue"
        ) from None
    except BotoCoreError as error:
        raise Retry(f"secret {arn}: AWS can't be reached: {type(error).__name__}") from None
