"""The one place that reads stack configuration: frozen models, and errors that name the key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic import model_validator as check
from pydantic_core import ErrorDetails

from bluegreen.register.fence_mode import DEFAULT_FENCE, DEFAULT_OLD_SIDE, FenceMode, OldSide
from bluegreen.switch.time_limits import (
    DRAIN_SECONDS,
    FINISH_SECONDS,
    FUSE_SECONDS,
    LAG_SECONDS,
)

NAMESPACE = "bluegreen"
CA_BUNDLE = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"

# RDS: letters, digits and hyphens, a letter first, no hyphen last, none doubled; 63 at most.
IDENTIFIER = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER, max_length=55)]
Version = Annotated[str, StringConstraints(pattern=r"^\d{2}\.\d+$")]
Arn = Annotated[str, StringConstraints(pattern=r"^arn:[\w-]+:secretsmanager:[\w-]+:\d*:secret:.+$")]
KeyArn = Annotated[str, StringConstraints(pattern=r"^arn:[\w-]+:kms:[\w-]+:\d*:key/.+$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d$")]
Positive = Annotated[float, Field(gt=0)]


def _parameter(value: Any) -> Any:
    """Take what YAML reads as a number or a flag for the text that a parameter group wants."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int | float) else value


Parameter = Annotated[str, BeforeValidator(_parameter)]

# schema.table as the catalog has them; a part with a dot or a double quote stands in double quotes.
_PART = r'("([^"]|"")+"|[^".]+)'
TableName = Annotated[str, StringConstraints(pattern=rf"^{_PART}\.{_PART}$")]


def _table(name: str) -> str:
    if re.fullmatch(rf"{_PART}\.{_PART}", name, re.DOTALL) is None:
        raise ValueError(
            f"got {name!r}, expected schema.table as the catalog has it, with double quotes around"
            " a part that has a dot or a double quote"
        )
    return name


StaleTable = Annotated[str, AfterValidator(_table)]
Tls = Literal["disable", "require", "verify-ca", "verify-full"]
ReplicaIdentity = Annotated[str, StringConstraints(pattern=r"^(full|index .+)$")]
Operation = Literal["insert", "update", "delete", "truncate"]


def _carrying_the_heartbeat(operations: list[str]) -> list[str]:
    if not {"insert", "update"} <= set(operations):
        raise ValueError("must have insert and update, which carry the heartbeat")
    return operations


Operations = Annotated[list[Operation], AfterValidator(_carrying_the_heartbeat)]


def _choices(value: Any) -> Any:
    """Bring the short forms of `tables` into the long one: a choice for each database."""
    if value == "all":
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"got {value!r}, expected all, or a choice of tables for each database")
    return {name: _choice(one) for name, one in value.items() if one != "all"}


def _choice(value: Any) -> Any:
    value = {"tables": value} if isinstance(value, list) else value
    if isinstance(value, dict) and isinstance(tables := value.get("tables"), list):
        named = [{"table": one} if isinstance(one, str) else one for one in tables]
        return value | {"tables": named}
    return value


class SettingsError(Exception):
    """One line: the key as the user writes it, what it got, what is allowed."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SecondaryRegion(_Model):
    """A secondary Region of the global database."""

    region: Region
    """The Region; another one than the stack's own."""
    subnet_ids: list[str] = Field(min_length=2)
    """Subnets in at least two availability zones of that Region."""
    security_group_ids: list[str] = Field(min_length=1)
    """Security groups of that Region."""
    instance_class: str | None = None
    """Instance class there; the primary's by default."""
    instances: int = Field(default=1, ge=0, le=15)
    """Instances there; 0 makes it headless: it follows, and costs only storage."""
    kms_key_arn: KeyArn | None = None
    """Key of the storage, of that Region; AWS's own key there by default. It never changes."""

    @check(mode="after")
    def _key_is_of_the_region(self) -> SecondaryRegion:
        if self.kms_key_arn is not None and self.kms_key_arn.split(":")[3] != self.region:
            raise ValueError(
                f"kms_key_arn: got {self.kms_key_arn!r}, expected a key in {self.region}; a"
                " secondary Region's storage is encrypted with a key of its own Region"
            )
        return self


class Environment(_Model):
    """One Aurora PostgreSQL cluster with its secondary Regions."""

    cluster_identifier: Identifier | None = None
    """The cluster's identifier; `<project>-<stack>` by default. It never changes."""
    engine_version: Version
    """The Aurora PostgreSQL version, such as `16.14`. A clone is upgraded to it; an environment
    that serves only to another minor, as `allow_reboot` allows."""
    instance_class: str
    """Instance class of the primary Region, such as `db.r6g.large`."""
    instances: int = Field(default=2, ge=1, le=16)
    """Instances in the primary Region: one writer, the others readers."""
    databases: list[str] = Field(min_length=1)
    """The databases that a deployment carries over; the first is made with a new cluster. Their
    order says nothing later on."""
    subnet_ids: list[str] = Field(min_length=2)
    """Subnets in at least two availability zones."""
    security_group_ids: list[str] = Field(min_length=1)
    """Security groups of the cluster."""
    secondary_regions: list[SecondaryRegion] = []
    """Secondary Regions of the global database; none makes a regional cluster."""
    parameters: dict[str, Parameter] = {}
    """Further values of the cluster parameter group."""
    backup_retention_days: int = Field(default=7, ge=1, le=35)
    """Days that automated backups are kept."""
    kms_key_arn: str | None = None
    """Key of the storage; AWS's own by default. It never changes."""
    iam_authentication: bool | None = None
    """Whether database users may log in by tokens of IAM; by default where
    `credentials.admin_iam_user` does."""
    allow_reboot: Literal["never", "window", "now"] = "never"
    """Whether the writer may be restarted for static parameters and minor versions."""
    deletion_protection: bool = True
    """Whether AWS and `pulumi destroy` refuse to delete the cluster."""
    final_snapshot: bool = True
    """Whether a deletion leaves a last snapshot. A clone that never was the writer needs none."""
    cluster_timeout_minutes: Positive | None = None
    """How long one cluster may take; 120 by default. Terabytes take longer to another Region."""
    instance_timeout_minutes: Positive | None = None
    """How long one instance may take; 90 by default."""
    upgrade_timeout_minutes: Positive = 120.0
    """How long the upgrade of a cluster may take."""
    retire: bool = False
    """Whether this environment may be destroyed although it is the writer."""

    @check(mode="after")
    def _classes_of_a_global_database(self) -> Environment:
        # AWS refuses one when all that comes before it has been made, for hours in a deployment.
        classes = {"instance_class": self.instance_class} if self.secondary_regions else {}
        for number, one in enumerate(self.secondary_regions):
            if one.instance_class is not None:
                classes[f"secondary_regions[{number}].instance_class"] = one.instance_class
        for key, chosen in classes.items():
            if chosen.startswith("db.t"):
                raise ValueError(
                    f"{key}: got {chosen!r}, but a global database takes no burstable class; name"
                    " one such as db.r6g.large, or take secondary_regions out"
                )
        return self

    @check(mode="after")
    def _regions_differ(self) -> Environment:
        regions = [secondary.region for secondary in self.secondary_regions]
        if len(set(regions)) != len(regions):
            raise ValueError("secondary_regions: a Region is named twice")
        if len(set(self.databases)) != len(self.databases):
            raise ValueError("databases: a database is named twice")
        return self


class PublishedTable(_Model):
    """One table of a choice, or part of it."""

    table: TableName
    """The table as `schema.table`."""
    columns: list[str] | None = Field(default=None, min_length=1)
    """The columns that are sent, its replica identity among them; all by default. From 15 on."""
    where: str | None = Field(default=None, min_length=1)
    """Which rows are sent, a boolean SQL expression over its replica identity. From 15 on."""


class PublishedChoice(_Model):
    """What one database sends, where that isn't all of it."""

    schemas: list[str] = []
    """Whole schemas, tables that are made later included. From 15 on."""
    tables: list[PublishedTable] = []
    """Single tables: `schema.table`, or with `table` and `columns` or `where`."""

    @check(mode="after")
    def _chooses(self) -> PublishedChoice:
        if not self.schemas and not self.tables:
            raise ValueError("name schemas or tables, or write all")
        names = [one.table for one in self.tables]
        if len(set(names)) != len(names):
            raise ValueError("tables: a table is named twice")
        return self


class Replication(_Model):
    """What is replicated, and how."""

    tables: Annotated[dict[str, PublishedChoice], BeforeValidator(_choices)] = {}
    """`all` (the default), or for some databases a list of tables, or `schemas` and `tables`."""
    operations: Operations = ["insert", "update", "delete", "truncate"]
    """What of the tables is sent; what isn't is missing on the other side."""
    publish_via_partition_root: bool = False
    """Whether partitions are sent as their root, so that the other side may divide it otherwise."""
    replica_identity: dict[str, dict[TableName, ReplicaIdentity]] = {}
    """For each database, tables without a primary key: `schema.table` to `full` or `index NAME`."""
    streaming: Literal["off", "on", "parallel"] | None = None
    """How large transactions are sent while they run; not set: the best that the standby's version
    has. `parallel` needs 16 on both sides, since after a switch they change places."""
    lag_seconds: Positive = LAG_SECONDS
    """The lag at which the standby counts as current."""
    stable_seconds: float = Field(default=2.0, ge=0)
    """How long it has to stay so."""
    catch_up_seconds: Positive = 86400.0
    """How long an update waits for it."""
    slot_wait_seconds: Positive = 120.0
    """How long a new slot waits for open write transactions."""
    accept_stale: list[StaleTable] = []
    """Tables that may be left behind by row filters, column lists or lists of tables, each as
    `schema.table`; `pg_catalog.pg_largeobject` stands for the large objects."""


class Switch(_Model):
    """How the writer is moved."""

    fence: FenceMode = DEFAULT_FENCE
    """What the old writer's fence is: `no-login` takes LOGIN from the application roles for the
    switch, `read-only` makes new transactions read-only and leaves LOGIN. Under `read-only` a
    client whose driver says BEGIN READ WRITE goes on writing: 268 of 46,748 acknowledged
    transactions were on the old side only, and the switch came to no decision for 8 s."""
    old_side: OldSide = DEFAULT_OLD_SIDE
    """What the side is that is not the writer, the fresh clone too: `closed` takes LOGIN from the
    application roles, and `readable` leaves it to them; what then says BEGIN READ WRITE there is
    written there only. Roles that only read may keep it by `spare_roles`."""
    drain_seconds: Positive = DRAIN_SECONDS
    """How long writers may be kept waiting before the switch is aborted."""
    fuse_seconds: Positive = FUSE_SECONDS
    """When the fenced server opens again by itself, whatever became of the switch's machine."""
    finish_seconds: Positive = FINISH_SECONDS
    """How long each part of a decided switch is insisted on before you are asked to try again."""
    roles: list[str] | None = None
    """The roles that lose LOGIN; by default all that have it but the tool's and AWS's."""
    spare_roles: list[str] = []
    """Roles that keep LOGIN everywhere; one that may write any table is refused."""
    login_checks: list[Arn] = []
    """Secrets of applications, JSON with `username` and `password`: before a switch each must open
    the new side, which has the passwords of when it was cloned."""
    accept_differences: list[str] = []
    """Differences between the two sides that may stay, as readiness names them:
    `app: index public.orders_at`."""

    @check(mode="after")
    def _fuse_burns_last(self) -> Switch:
        if self.fuse_seconds < self.drain_seconds + 1:
            raise ValueError(
                f"fuse_seconds: got {self.fuse_seconds:g}, but it must be at least drain_seconds"
                f" ({self.drain_seconds:g}) and 1 more"
            )
        return self


class Credentials(_Model):
    """References to credentials, never the credentials."""

    admin_secret_arn: Arn
    """Secret of the master user: JSON with `username` and `password`."""
    replication_secret_arn: Arn
    """Secret of the role that subscriptions connect as."""
    tls: Tls = "verify-full"
    """TLS mode of every connection, as libpq's sslmode."""
    ca_file: str | None = None
    """File with the certificates to trust, such as the RDS bundle; the `verify` modes need it."""
    subscription_tls: Tls | None = None
    """TLS mode of the connections between the clusters; none takes `tls`. `require` is weaker: what
    is sent is encrypted, and nobody checks who answers."""
    subscription_ca_file: str | None = None
    """File with the certificates that a cluster trusts when it subscribes: a path of its own host.
    None takes what its `ssl_ca_file` names, where Aurora has AWS's."""
    admin_iam_user: str | None = None
    """Connect as this user with an IAM token in place of the admin secret's password."""

    @check(mode="after")
    def _certificates_to_trust(self) -> Credentials:
        # Found at the first connection otherwise, when the cluster has been made.
        if self.tls.startswith("verify") and self.ca_file is None:
            raise ValueError(
                f"ca_file: is missing, and tls is {self.tls}; the certificates of RDS are in no"
                f" system's store: download {CA_BUNDLE} and set ca_file to its path"
            )
        return self


class Dns(_Model):
    """The names that applications connect to."""

    zone_id: str
    """The Route 53 hosted zone."""
    writer: str
    """Name that always leads to the writer."""
    reader: str | None = None
    """Name that always leads to the writer environment's readers."""
    ttl: int = Field(default=5, ge=0, le=300)
    """Seconds that resolvers may keep the answer: part of the outage that clients see."""


class Settings(_Model):
    """A stack's whole configuration."""

    source: str | None = None
    """The stack that this environment is to replace; none makes the stack plain."""
    cutover: bool = False
    """Whether this environment is the writer."""
    rollback: bool = True
    """Whether the way back stays open after the cutover."""
    rehearsal: bool = False
    """A writable clone of the source without replication; never cut over to."""
    environment: Environment
    replication: Replication = Replication()
    switch: Switch = Switch()
    credentials: Credentials
    dns: Dns | None = None

    @check(mode="after")
    def _replicates_what_there_is(self) -> Settings:
        # A choice under a wrong name would publish all of the database that was meant.
        if unknown := sorted(self.replication.tables.keys() - set(self.environment.databases)):
            raise ValueError(
                f"replication.tables: got database {unknown[0]!r}, expected one of "
                f"environment.databases: {', '.join(self.environment.databases)}"
            )
        return self

    @check(mode="after")
    def _admin_may_log_in(self) -> Settings:
        if self.credentials.admin_iam_user and self.environment.iam_authentication is False:
            raise ValueError(
                "environment.iam_authentication: is false, and credentials.admin_iam_user logs in"
                " by IAM; take one of them out"
            )
        return self

    @property
    def iam_authentication(self) -> bool:
        """Return whether database users may log in by tokens of IAM."""
        return bool(self.environment.iam_authentication or self.credentials.admin_iam_user)

    def cluster_identifier(self, stack: str) -> str:
        """Return the identifier of this stack's cluster."""
        return self.environment.cluster_identifier or f"{NAMESPACE}-{stack}"


def load(config: Mapping[str, str]) -> Settings:
    """Return the settings in a stack's configuration: keys with namespace, values as Pulumi has it.

    Raises `SettingsError` for the first thing that is wrong.
    """
    head = f"{NAMESPACE}:"
    ours = {key.removeprefix(head): value for key, value in config.items() if key.startswith(head)}
    if ours.get("source") == "":  # the default in Pulumi.yaml: none
        del ours["source"]
    try:
        return Settings.model_validate({key: _value(key, text) for key, text in ours.items()})
    except ValidationError as error:
        raise SettingsError(_line(error.errors(include_url=False)[0])) from None


# Settings of the AWS plugin that say who asks AWS, or where, and what says the same to all.
_IDENTITY = {
    "accessKey": "AWS_ACCESS_KEY_ID",
    "assumeRole": "AWS_PROFILE, a profile with role_arn",
    "assumeRoles": "AWS_PROFILE, a profile with role_arn",
    "assumeRoleWithWebIdentity": "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE",
    "endpoints": "AWS_ENDPOINT_URL, or AWS_ENDPOINT_URL_RDS and its like",
    "profile": "AWS_PROFILE",
    "secretKey": "AWS_SECRET_ACCESS_KEY",
    "sharedConfigFiles": "AWS_CONFIG_FILE",
    "sharedCredentialsFile": "AWS_SHARED_CREDENTIALS_FILE",
    "sharedCredentialsFiles": "AWS_SHARED_CREDENTIALS_FILE",
    "token": "AWS_SESSION_TOKEN",
}


def identity_problem(config: Mapping[str, str]) -> str | None:
    """Return why the AWS plugin would be somebody else than the program; None if it is the same.

    The program, its resources and the command line ask AWS too, and find their identity by the
    environment alone: with another one what exists would look gone.
    """
    for key, value in sorted(config.items()):
        head, _, name = key.partition(":")
        if head == "aws" and name in _IDENTITY and value not in ("", "[]", "{}"):
            return (
                f"{key}: would reach the AWS plugin only, and this program asks AWS itself as well;"
                f" say it to both by the environment ({_IDENTITY[name]}), and run: pulumi config rm"
                f" {key}"
            )
    return None


def _value(key: str, text: str) -> Any:
    """Return a structured value or a flag from its JSON; everything else is text."""
    field = Settings.model_fields.get(key)
    if field is None or field.annotation in (str, str | None):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _line(error: ErrorDetails) -> str:
    path = [part for part in error["loc"] if part != "[key]"]
    if not path:  # about two settings together: the message names them
        return f"{NAMESPACE}:{error['msg'].removeprefix('Value error, ')}"
    key = (
        NAMESPACE
        + ":"
        + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    )
    got = error["input"]
    shown = type(got).__name__ if isinstance(got, dict | list) else repr(got)
    match error["type"]:
        case "missing":
            return f"{key}: is missing; set it in the stack's configuration"
        case "extra_forbidden":
            return f"{key}: is no setting; known here: {', '.join(_known(path))}"
        case "value_error":
            return f"{key}: {error['msg'].removeprefix('Value error, ')}"
        case _:
            allowed = error["msg"][:1].lower() + error["msg"][1:]
            return f"{key}: got {shown}, but {allowed}"


def _known(path: list[int | str]) -> list[str]:
    """Return the keys that are allowed where the last one of `path` is not."""
    model: Any = Settings
    for part in path[:-1]:  # numbers in lists and names of databases lead to the same model
        if part in model.model_fields:
            model = next(_models(model.model_fields[str(part)].annotation), model)
    return sorted(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)
