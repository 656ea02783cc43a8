"""Nothing that is the user's stands in what the probe shows."""

from __future__ import annotations

import pytest

from bluegreen.probe.scrub import Scrubber

_KNOWN = {
    "zebra_orders": "table",
    "quagga": "role",
    'Odd "Name"': "schema",
    "zebra": "database",
    "two words": "table",
    "db-1.abc.eu-west-1.rds.amazonaws.com": "host",
}


def _scrubber() -> Scrubber:
    scrub = Scrubber(ours={"pg_stat_wal", "pg_replication_origin_advance", "work_mem"})
    scrub.learn(_KNOWN)
    return scrub


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("permission denied for table zebra_orders", "permission denied for table <table>"),
        ('role "quagga" is not permitted to log in', 'role "<role>" is not permitted to log in'),
        ('schema "Odd "Name"" is gone', 'schema "<schema>" is gone'),
        ("must be owner of table two  words", "must be owner of table <table>"),
        ("zebra.zebra_orders", "<database>.<table>"),
        (
            'connection to server at "db-1.abc.eu-west-1.rds.amazonaws.com" (10.1.2.3), port 5432',
            'connection to server at "<host>" (<address>), port 5432',
        ),
    ],
)
def test_a_known_name_becomes_what_it_is(said: str, left: str) -> None:
    assert _scrubber()(said) == left


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ('column "salary" does not exist', 'column "<name>" does not exist'),
        ("must be owner of table unseen", "must be owner of table <name>"),
        ("permission denied for schema unseen", "permission denied for schema <name>"),
        ("instance unseen-1 not found", "instance <name> not found"),
        (
            "User: arn:aws:iam::123456789012:user/me is not authorized",
            "User: <arn> is not authorized",
        ),
        ("account 123456789012 is closed", "account <account> is closed"),
        ("write to me@example.com, host fe80::1:2:3", "write to <address>, host <address>"),
        ("zone Z0123456789ABCDEFGHIJ", "zone <id>"),
        ("at other.host.example.org now", "at <host> now"),
        ("can't find 'unseen' or \u2018hidden\u2019", "can't find '<name>' or \u2018<name>\u2019"),
    ],
)
def test_what_looks_like_a_name_goes_as_well(said: str, left: str) -> None:
    assert _scrubber()(said) == left


@pytest.mark.parametrize(
    "said",
    [
        "function pg_stat_get_wal() is currently not supported for Aurora",
        "permission denied for view pg_stat_wal",
        'permission denied to set parameter "work_mem"',
        "permission denied for function pg_replication_origin_advance",
        'replication slot "bluegreen_probe_0a1b2c3d" does not exist',
        "restart 0/1A2B3C, confirmed 16/B374D848, the server 16/B374D850",
        "database does not exist",
        "/rdsdbdata/rds-metadata/ca-cert.pem",
        "missing: rds_replication, pg_monitor",
    ],
)
def test_what_says_nothing_of_the_user_stays(said: str) -> None:
    assert _scrubber()(said) == said


def test_a_name_that_is_a_word_of_messages_leaves_them_readable() -> None:
    scrub = _scrubber()
    scrub.learn({"table": "table", "permission": "role"})
    assert scrub("permission denied for table quagga") == "permission denied for table <role>"


def test_a_longer_name_goes_before_a_shorter_one_that_is_part_of_it() -> None:
    scrub = Scrubber()
    scrub.learn({"app": "database", "app data": "table"})
    assert scrub("in app data of app") == "in <table> of <database>"


def test_lines_become_one() -> None:
    assert Scrubber()("one\n  two") == "one two"
