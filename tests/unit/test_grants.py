"""What to grant: the server's words on one side, the statement on the other."""

from __future__ import annotations

import pytest

from bluegreen.postgres.remedies import remedy

_FUNCTION = "permission denied for function "
_ON_FUNCTION = "GRANT EXECUTE ON FUNCTION "


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("permission denied to create subscription", 'GRANT pg_create_subscription TO "r"'),
        ("permission denied for database app", 'GRANT CREATE ON DATABASE "app" TO "r"'),
        ("permission denied for schema App", 'GRANT USAGE ON SCHEMA "App" TO "r"'),
        ("permission denied for table orders", 'GRANT SELECT ON "orders" TO "r"'),
        (
            "permission denied for table heartbeat",
            'GRANT SELECT, INSERT, UPDATE ON bluegreen.heartbeat TO "r"',
        ),
        (
            "permission denied for view pg_replication_origin_status",
            'GRANT SELECT ON pg_catalog.pg_replication_origin_status TO "r"; ',
        ),
        (
            _FUNCTION + "pg_replication_origin_advance",
            _ON_FUNCTION + 'pg_catalog.pg_replication_origin_advance(text, pg_lsn) TO "r"',
        ),
        (
            _FUNCTION + "pg_replication_origin_drop",
            _ON_FUNCTION + 'pg_catalog."pg_replication_origin_drop" TO "r"',
        ),
        (
            _FUNCTION + "pg_control_system",
            _ON_FUNCTION + 'pg_catalog."pg_control_system" TO "r"',
        ),
        (
            "permission denied for table pg_authid",
            'GRANT SELECT ON pg_catalog."pg_authid" TO "r"',
        ),
        (_FUNCTION + "f", _ON_FUNCTION + '"f" TO "r"'),
        ("must be superuser to create FOR ALL TABLES publication", "GRANT rds_superuser TO"),
        ("permission denied to use replication slots", "GRANT rds_replication TO"),
        ("must be superuser or replication role to use replication slots", "rds_replication TO"),
        ("must be owner of table orders", "grant its owner's role"),
        ("must be owner of subscription bg", "use the master user"),
        ("something else", 'grant it to "r"'),
    ],
)
def test_a_missing_privilege_has_its_remedy(said: str, cure: str) -> None:
    assert cure in remedy(said, "r", "app")


def test_names_are_quoted() -> None:
    said = "permission denied for database x"
    assert remedy(said, 'a"b', "{c}") == 'GRANT CREATE ON DATABASE "{c}" TO "a""b"'


@pytest.mark.parametrize(
    "said",
    [
        "permission denied for view pg_replication_origin_status",
        _FUNCTION + "pg_show_replication_origin_status",
        _FUNCTION + "pg_replication_origin_advance",
        _FUNCTION + "pg_replication_origin_progress",
        _FUNCTION + "pg_control_system",
        "permission denied for table pg_subscription",
    ],
)
def test_what_belongs_to_aws_is_not_to_be_granted_by_anybody_there(said: str) -> None:
    assert remedy(said, "r", "app").startswith("on RDS nobody can grant that: run bluegreen probe")
