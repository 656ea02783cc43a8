"""The two sides are compared: what differs is named before a switch, with what mends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bluegreen import fingerprint, names, register, side_findings
from bluegreen.comparison import differences
from bluegreen.finding import Finding, Level
from bluegreen.server import Server
from bluegreen.side_findings import Tolerance
from bluegreen.switchover import switch
from lab.postgres import clone
from lab.postgres.binaries import available
from lab.postgres.server import LabServer
from tests.fixtures.databases import Connection
from tests.fixtures.postgres import MakeServer
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.replicated import DATABASE, Pair
from tests.fixtures.switchable import APP, Switchable
from tests.fixtures.zoo import make_drift, make_zoo

# Alike on both sides, whatever majors they are; the fixture makes it.
BASE = """
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE parts (id int PRIMARY KEY, at int, note text, code varchar(10), mood mood,
                    total int DEFAULT 0, must int NOT NULL, may int);
CREATE TABLE m (id int, region int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE m_1 PARTITION OF m FOR VALUES IN (1);
CREATE VIEW seen AS SELECT id, note FROM parts;
CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 41';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE SEQUENCE numbers;
GRANT SELECT, INSERT ON parts, m TO app_user;
"""
ROLES = """
CREATE ROLE leaver LOGIN; CREATE ROLE readers; CREATE ROLE "Odd ""role"; GRANT readers TO leaver;
ALTER ROLE app_user SET statement_timeout = '5s';
"""

# What is done on one side, how it is called, its level on the writer only and on the standby only.
B, W = Level.BLOCK, Level.WARN
CASES = [
    ("CREATE TABLE invoices (id int PRIMARY KEY)", "app: table public.invoices", B, B),
    ("CREATE TABLE m_2 PARTITION OF m FOR VALUES IN (2)", "app: table public.m_2", B, B),
    ("DROP TABLE m_1", "app: table public.m_1", B, B),
    ("ALTER TABLE m DETACH PARTITION m_1", "app: partition public.m_1", B, B),
    ("ALTER TABLE parts ADD COLUMN extra text", "app: column public.parts.extra", B, B),
    ("ALTER TABLE parts ALTER COLUMN at TYPE bigint", "app: column public.parts.at", B, B),
    ("ALTER TABLE parts ALTER COLUMN may SET DEFAULT 7", "app: default public.parts.may", B, W),
    ("ALTER TABLE parts ALTER COLUMN total SET DEFAULT 1", "app: default public.parts.total", B, B),
    ("ALTER TABLE parts ALTER COLUMN at SET NOT NULL", "app: not null public.parts.at", B, B),
    ("ALTER TABLE parts ALTER COLUMN must DROP NOT NULL", "app: not null public.parts.must", B, B),
    ("ALTER TABLE parts ADD CHECK (at > 0)", "app: constraint parts_at_check on public.parts", B, B),
    ("ALTER TABLE parts ADD UNIQUE (code)", "app: constraint parts_code_key on public.parts", B, B),
    (
        "ALTER TABLE parts ADD CONSTRAINT refers FOREIGN KEY (may) REFERENCES parts",
        "app: constraint refers on public.parts",
        B,
        B,
    ),
    ("CREATE UNIQUE INDEX once ON parts (lower(note))", "app: unique index public.once", B, B),
    ("CREATE INDEX slow ON parts (at)", "app: index public.slow", W, W),
    ("ALTER TYPE mood ADD VALUE 'odd' BEFORE 'wild'", "app: enum public.mood", B, B),
    ("ALTER TABLE parts REPLICA IDENTITY FULL", "app: replica identity public.parts", B, B),
    (
        "CREATE TRIGGER late BEFORE INSERT ON parts FOR EACH ROW EXECUTE FUNCTION touched()",
        "app: trigger late on public.parts",
        B,
        B,
    ),
    ("ALTER TABLE parts ENABLE ROW LEVEL SECURITY", "app: row security public.parts", B, B),
    ("CREATE POLICY few ON parts USING (at > 1)", "app: policy few on public.parts", B, B),
    (
        "CREATE OR REPLACE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42'",
        "app: function public.answer()",
        W,
        W,
    ),
    ("CREATE FUNCTION news() RETURNS int RETURN 1", "app: function public.news()", B, W),
    ("CREATE OR REPLACE VIEW seen AS SELECT id, note || 'x' AS note FROM parts",
     "app: query public.seen", W, W),
    ("CREATE VIEW sights AS SELECT 1 AS one", "app: view public.sights", B, W),
    ("CREATE EXTENSION vector", "app: extension vector", B, W),
    ("CREATE SEQUENCE more", "app: sequence public.more", B, B),
    ("ALTER SEQUENCE numbers INCREMENT 5", "app: sequence public.numbers", B, B),
    ("CREATE SCHEMA ours", "app: schema ours", B, W),
    ("SELECT lo_create(4711)", "app: large objects", B, W),
    ("REVOKE ALL ON parts FROM app_user", "app: privilege app_user on TABLE public.parts", B, B),
    ("GRANT DELETE ON parts TO PUBLIC", "app: privilege PUBLIC on TABLE public.parts", B, B),
    ("REVOKE INSERT ON m FROM app_user", "app: privilege app_user on TABLE public.m", B, B),
    ('GRANT UPDATE (note) ON parts TO "Odd ""role"',
     'app: privilege "Odd ""role" on COLUMN public.parts.note', B, B),
    ("ALTER TABLE parts OWNER TO readers", "app: owner TABLE public.parts", B, B),
    ("ALTER ROLE leaver NOLOGIN", "cluster: login leaver", B, B),
    ("REVOKE readers FROM leaver", "cluster: membership leaver in readers", B, B),
    ("ALTER ROLE leaver VALID UNTIL '2020-01-01'", "cluster: role attributes leaver", B, B),
    ("ALTER ROLE leaver SET work_mem = '8MB'", "cluster: setting work_mem of role leaver", W, W),
    ("ALTER ROLE leaver IN DATABASE app SET search_path = m, public",
     "cluster: setting search_path of role leaver in database app", B, B),
    ("DROP ROLE \"Odd \"\"role\"", 'cluster: role "Odd ""role"', B, B),
    ("CREATE ROLE newcomer LOGIN", "cluster: role newcomer", B, B),
    ("ALTER DATABASE app SET work_mem = '8MB'", "cluster: setting work_mem of database app", W, W),
    ("GRANT CREATE ON DATABASE app TO leaver", "cluster: privilege leaver on DATABASE app", B, B),
    ("CREATE DATABASE reports", "cluster: database reports", B, B),
]


@pytest.fixture
def compared(switchable: Switchable) -> Switchable:
    """Return a deployment whose two sides are alike."""
    for server in (switchable.pair.target, switchable.pair.source):
        with switchable.pair.connect(server) as conn:
            conn.execute(BASE)
            conn.execute(ROLES)
    return switchable


def findings(old: Server, new: Server, tolerance: Tolerance | None = None) -> list[Finding]:
    """Return what differs when the writer is to move from `old` to `new`."""
    with ExitStack() as stack:
        sides = [
            (one, {DATABASE: stack.enter_context(one.connect(DATABASE))}) for one in (old, new)
        ]
        return side_findings.check(sides[0], sides[1], tolerance or Tolerance())


def levels(found: list[Finding]) -> dict[str, Level]:
    """Return each finding's level by its subject, but for what is alike."""
    return {one.subject: one.level for one in found if one.level is not Level.OK}


@pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)
def test_every_difference_is_named_in_both_directions_and_mended_by_its_remedy(
    compared: Switchable,
) -> None:
    pair = compared.pair
    assert levels(findings(pair.source, pair.target)) == {}
    with pair.connect(pair.source) as conn:
        # One by one: each remedy must bring the standby back to the writer alone.
        for done, *_ in CASES:
            conn.execute(done.encode())
    forward = findings(pair.source, pair.target)
    # Nothing else: parts of what is missing are not named.
    assert levels(forward) == {subject: there for _, subject, there, _ in CASES}
