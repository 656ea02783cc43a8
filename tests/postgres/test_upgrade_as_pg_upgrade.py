"""The upgrade check says no wherever pg_upgrade's own does, and yes where that says yes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bluegreen.upgrade import obstacles
from lab.postgres.owner import owner, run
from lab.postgres.server import SUPERUSER, LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.rds import REPLICATOR, PlacedClusters

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in database `other`, which is not even among those that are replicated."""

    plant: str
    named: str
    """In the refusal; empty when nothing is in the way."""
    remedy: str
    only: tuple[int, ...] = (15, 16)


FAULTS = {
    "array": Fault("CREATE TABLE t (c regprocedure[])", "public.t.c", "DROP TABLE t"),
    "domain": Fault(
        "CREATE DOMAIN d AS regconfig; CREATE TABLE t (c d)",
        "public.t.c",
        "DROP TABLE t; DROP DOMAIN d",
    ),
    "array of a domain": Fault(
        "CREATE DOMAIN d AS regnamespace; CREATE TABLE t (c d[])",
        "public.t.c",
        "DROP TABLE t; DROP DOMAIN d",
    ),
    "composite": Fault(
        "CREATE TYPE k AS (a int, b regoperator); CREATE TABLE t (c k[])",
        "public.t.c",
        "DROP TABLE t; DROP TYPE k",
    ),
    "partition": Fault(
        "CREATE TABLE t (i int, c regproc) PARTITION BY LIST (i);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
        "public.t1.c",
        "DROP TABLE t",
    ),
    "index": Fault(
        "CREATE TABLE t (c oid); CREATE INDEX i ON t ((c::regproc))", "public.i.", "DROP TABLE t"
    ),
    "materialized view": Fault(
        "CREATE MATERIALIZED VIEW t AS SELECT 'now'::regproc AS c",
        "public.t.c",
        "DROP MATERIALIZED VIEW t",
    ),
    "range": Fault(
        "CREATE TYPE k AS RANGE (subtype = regdictionary, subtype_opclass = oid_ops);"
        "CREATE TABLE t (c k)",
        "public.t.c",
        "DROP TABLE t; DROP TYPE k",
    ),
    "row of a catalog": Fault("CREATE TABLE t (c pg_class)", "public.t.c", "DROP TABLE t"),
    "aclitem": Fault("CREATE TABLE t (c aclitem[])", "public.t.c", "DROP TABLE t", only=(15,)),
    "looser child": Fault(
        "CREATE TABLE t (c int NOT NULL); CREATE TABLE u () INHERITS (t);"
        "ALTER TABLE u ALTER c DROP NOT NULL",
        "public.u.c",
        "DROP TABLE t CASCADE",
    ),
    "no connections": Fault(
        "ALTER DATABASE hidden ALLOW_CONNECTIONS false",
        "hidden",
        "ALTER DATABASE hidden ALLOW_CONNECTIONS true",
    ),
    "template0 open": Fault(
        "ALTER DATABASE template0 ALLOW_CONNECTIONS true",
        "template0",
        "ALTER DATABASE template0 ALLOW_CONNECTIONS false",
    ),
    "invalid database": Fault(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'hidden'",
        "hidden",
        "UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'hidden'",
    ),
    "prepared": Fault(
        "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'held'", "held", "ROLLBACK PREPARED 'held'"
    ),
    # What keeps its number, and what stores nothing.
    "kept": Fault(
        "CREATE TABLE t (a regclass, b regrole[], c regtype); CREATE VIEW v AS"
        " SELECT 'now'::regproc AS c; CREATE TABLE p (c regproc) PARTITION BY LIST (c)",
        "",
        "DROP TABLE t, p; DROP VIEW v",
    ),
    "dropped column": Fault(
        "CREATE TABLE t (a int, c regproc); ALTER TABLE t DROP c", "", "DROP TABLE t"
    ),
}


# The builds of 14 and 17 that are fetched have no tools to upgrade from.
@pytest.fixture(scope="module", params=[15, 16])
def lab(request: pytest.FixtureRequest, shared_server: MakeServer) -> LabServer:
    server = shared_server(request.param, "upgraded", max_prepared_transactions="5")
    with server.connect() as conn:
        for name in ("app", "other", "hidden"):
            conn.execute(f"CREATE DATABASE {name}")
    return server


@pytest.fixture(scope="module")
def target(lab: LabServer) -> Iterator[LabServer]:
    new = dataclasses.replace(lab, name=f"{lab.name}-new", major=18, parameters={})
    new.initdb()
    assert refused(lab, new) == ""
    yield new
    shutil.rmtree(new.data)


def refused(old: LabServer, new: LabServer) -> str:
    """Return what pg_upgrade says against it, empty when nothing."""
    work = old.root / f"{old.name}-check"
    work.mkdir(exist_ok=True)
    owner().take(work)
    command = [str(new.binaries.home / "bin" / "pg_upgrade"), "--check", "-U", SUPERUSER]
    command += ["-b", str(old.binaries.home / "bin"), "-B", str(new.binaries.home / "bin")]
    command += ["-d", str(old.data), "-D", str(new.data), "-s", str(work)]
    old.stop()
    try:
        run(command, new.binaries.environment, cwd=work)
    except RuntimeError as error:
        return str(error)
    finally:
        old.start()
        shutil.rmtree(work)
    return ""


@pytest.mark.parametrize("name", FAULTS)
def test_what_pg_upgrade_refuses_is_named_before(
    lab: LabServer, target: LabServer, placed: PlacedClusters, name: str
) -> None:
    fault = FAULTS[name]
    if lab.major not in fault.only:
        pytest.skip(f"{name} is no fault of {lab.major}")
    server = placed.place(lab, "orders-2")
    with lab.as_superuser("other") as conn:
        for statement in fault.plant.split(";"):
            conn.execute(statement.encode())
    try:
        found = obstacles.inspect(server, ["app"], to_major=18)
        said = obstacles.problem(dataclasses.replace(found, open_to_writers=False))
        their = refused(lab, target)
    finally:
        with lab.as_superuser("other") as conn:
            for statement in (*fault.remedy.split(";"), f"DROP ROLE {REPLICATOR}"):
                conn.execute(statement.encode())
    assert bool(their) == bool(fault.named), their
    if fault.named:
        assert said is not None
        assert fault.named in said
    else:
        assert said is None
