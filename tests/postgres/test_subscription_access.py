"""What a subscription needs to log in, to be made and to apply: each lack is one clear line."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg import sql

from bluegreen.replication.subscription import dropping
from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres import replicator
from lab.postgres.clone import wait_until
from tests.fixtures.postgres import MASTER, PASSWORD
from tests.fixtures.provider_host import Host, HostError, Made, ProviderHost
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.subscribed import Subscribed


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(SubscriptionProvider())


def _one_line(error: pytest.ExceptionInfo[HostError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert PASSWORD not in text
    assert "hunter2" not in text
    return text


def _nothing_made(this: Subscribed) -> None:
    assert this.on_target("SELECT FROM pg_subscription") == []


def test_wrong_password_of_the_replication_role(host: ProviderHost, subscribed: Subscribed) -> None:
    subscribed.set_secret("hunter2")
    with pytest.raises(HostError) as error:
        host.create(subscribed.props)
    arn = subscribed.source.credentials.replication_secret_arn
    assert f"wrong user or password; fix the secret {arn}" in _one_line(error)
    _nothing_made(subscribed)


def test_insufficient_privilege_to_replicate(host: ProviderHost, subscribed: Subscribed) -> None:
    with subscribed.source_lab.connect() as conn:
        replicator.forbid(conn, REPLICATOR)
    try:
        with pytest.raises(HostError) as error:
            host.create(subscribed.props)
    finally:
        with subscribed.source_lab.connect() as conn:
            replicator.allow(conn, REPLICATOR)
    assert 'GRANT rds_replication TO "replicator"' in _one_line(error)
    _nothing_made(subscribed)


def test_insufficient_privilege_to_connect(host: ProviderHost, subscribed: Subscribed) -> None:
    subscribed.on_source(f"REVOKE CONNECT ON DATABASE {subscribed.database} FROM PUBLIC")
    with pytest.raises(HostError) as error:
        host.create(subscribed.props)
    wanted = f'GRANT CONNECT ON DATABASE "{subscribed.database}" TO "replicator"'
    assert wanted in _one_line(error)
    _nothing_made(subscribed)


@pytest.fixture
def plain_admin(subscribed: Subscribed) -> Iterator[str]:
    """Let the subscriber's administrator be a role without superuser rights, as on Aurora."""
    role = "plain-admin"
    # By a superuser: whoever makes a role is a member of it, and so can't be its member.
    with subscribed.target_lab.as_superuser(subscribed.database) as conn:
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(PASSWORD)
            )
        )
        conn.execute(sql.SQL("GRANT USAGE ON SCHEMA bluegreen TO {}").format(sql.Identifier(role)))
    secret = subscribed.placed.secret("plain-admin", role, PASSWORD)
    subscribed.target = replace(
        subscribed.target,
        credentials=replace(subscribed.target.credentials, admin_secret_arn=secret),
    )
    yield role
    with subscribed.target_lab.as_superuser(subscribed.database) as conn:
        for (name,) in conn.execute("SELECT subname FROM pg_subscription").fetchall():
            owner = sql.SQL("ALTER SUBSCRIPTION {} OWNER TO CURRENT_USER")
            conn.execute(owner.format(sql.Identifier(name)))
        for statement in (
            "REASSIGN OWNED BY {} TO CURRENT_USER",
            "DROP OWNED BY {}",
            "DROP ROLE {}",
        ):
            conn.execute(sql.SQL(statement).format(sql.Identifier(role)))


def _attempt(host: ProviderHost, this: Subscribed) -> tuple[Made | None, str]:
    try:
        return host.create(this.props), ""
    except HostError as error:
        return None, str(error)


def _grants(said: str) -> list[str]:
    """Return the statements that a refusal names."""
    begins = re.compile("GRANT|ALTER SCHEMA")
    parts = [part[found.start() :] for part in said.split(";") if (found := begins.search(part))]
    return [part.partition(" (on Aurora")[0].partition(", or set")[0] for part in parts]


def test_insufficient_privilege_is_mended_by_the_statements_that_it_names(
    host: ProviderHost, subscribed: Subscribed, plain_admin: str
) -> None:
    """Each refusal names a GRANT; after all of them the subscription is made, and applies."""
    subscribed.on_target('CREATE ROLE "App Owner"')
    for table in ("orders", "bluegreen.heartbeat"):
        subscribed.on_target(f'ALTER TABLE {table} OWNER TO "App Owner"', superuser=True)
    subscribed.on_target('GRANT USAGE ON SCHEMA bluegreen TO "App Owner"', superuser=True)
    subscribed.on_target(f"GRANT SELECT ON orders TO {MASTER}", superuser=True)  # who compares
    granted: list[str] = []
    for _ in range(10):
        made, said = _attempt(host, subscribed)
        if made is not None:
            break
        todo = _grants(said)
        assert todo, said
        assert not set(todo) & set(granted), said
        for statement in todo:
            subscribed.on_target(statement, superuser=True)
        granted += todo
    assert made is not None
    text = "; ".join(granted)
    assert f'GRANT pg_create_subscription TO "{plain_admin}"' in text
    assert f'GRANT CREATE ON DATABASE "{subscribed.database}" TO "{plain_admin}"' in text
    assert f'GRANT "App Owner" TO "{plain_admin}" WITH SET TRUE' in text
    assert "pg_replication_origin_advance" in text
    subscribed.write(3)
    subscribed.wait_until_equal()
    host.delete(made)
    subscribed.on_target(
        'REASSIGN OWNED BY "App Owner" TO rdsadmin; DROP OWNED BY "App Owner"', superuser=True
    )
    subscribed.on_target('DROP ROLE "App Owner"', superuser=True)


def test_a_table_owner_that_the_apply_can_not_become(
    host: ProviderHost, subscribed: Subscribed, plain_admin: str
) -> None:
    """It would stop at the first row; with run_as_owner it needs rights on the table instead."""
    subscribed.on_target(
        f'GRANT pg_create_subscription TO "{plain_admin}";'
        f'GRANT CREATE ON DATABASE {subscribed.database} TO "{plain_admin}";'
        f'GRANT SELECT ON pg_replication_origin_status TO "{plain_admin}";'
        f'GRANT EXECUTE ON FUNCTION pg_show_replication_origin_status() TO "{plain_admin}"',
        superuser=True,
    )
    with pytest.raises(HostError) as error:
        host.create(subscribed.props)
    assert f"can't SET ROLE to {MASTER!r}, who owns" in _one_line(error)
    with pytest.raises(HostError) as error:
        host.create(subscribed.props | {"run_as_owner": True})
    assert "may not write bluegreen.heartbeat" in _one_line(error)
    _nothing_made(subscribed)


_POSITIONS = {
    "by the view": "GRANT SELECT ON pg_replication_origin_status TO {role};"
    "GRANT EXECUTE ON FUNCTION pg_show_replication_origin_status() TO {role}",
    "by the function": "GRANT EXECUTE ON FUNCTION pg_replication_origin_progress(text, boolean)"
    " TO {role}",
    "by neither": "SELECT",
}
"""What a service may grant or keep for itself: nobody has tried which of these Aurora does."""


@pytest.mark.parametrize("position", _POSITIONS)
def test_an_origins_position_can_be_read(
    host: ProviderHost, subscribed: Subscribed, plain_admin: str, position: str
) -> None:
    """Without any way to it rows still come once each, whatever is done again."""
    role = f'"{plain_admin}"'
    for statement in (
        f"GRANT pg_create_subscription TO {role}",
        f"GRANT CREATE ON DATABASE {subscribed.database} TO {role}",
        f"GRANT EXECUTE ON FUNCTION pg_replication_origin_advance(text, pg_lsn) TO {role}",
        f"GRANT {MASTER} TO {role} WITH SET TRUE, INHERIT FALSE",
        f"ALTER SCHEMA bluegreen OWNER TO {role}",
        f"ALTER TABLE bluegreen.heartbeat OWNER TO {role}",
        _POSITIONS[position].format(role=role),
    ):
        subscribed.on_target(statement, superuser=True)
    made = host.create(subscribed.props)
    subscribed.write(3)
    subscribed.wait_until_equal()
    for enabled in (False, True):
        made = host.update(made, subscribed.props | {"enabled": enabled})
        subscribed.write(2)
    subscribed.wait_until_equal()
    worker = subscribed.wait_until_worker()
    made = host.update(made, subscribed.props)
    assert subscribed.wait_until_worker() == worker  # its connection was not set again
    live = host.read(made)
    assert live is not None
    assert not host.diff(live, subscribed.props).changes
    assert (live.outs["live"]["applied"] == "unknown") == (position == "by neither")
    host.delete(made)
    _nothing_made(subscribed)


def test_what_a_drop_may_not_remove_is_named(
    subscribed: Subscribed, plain_admin: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A first copy that was not over has an origin here, and a slot on the publisher."""
    role, name = f'"{plain_admin}"', subscribed.name
    for statement in (
        f"CREATE SUBSCRIPTION {name} CONNECTION 'dbname=none' PUBLICATION none WITH (connect=false,"
        f" enabled=false, create_slot=false, slot_name={subscribed.slot})",
        "INSERT INTO pg_subscription_rel SELECT oid, 'orders'::regclass, 'd' FROM pg_subscription",
        f"GRANT pg_create_subscription TO {role}",
        f"ALTER SUBSCRIPTION {name} OWNER TO {role}",
        f"GRANT CREATE ON DATABASE {subscribed.database} TO {role}",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    ):
        subscribed.on_target(statement, superuser=True)
    ((oid,),) = subscribed.on_target("SELECT oid FROM pg_subscription WHERE subname = %s", name)
    origin = f"pg_{oid}_left"
    # By the function nobody may make one of such a name.
    subscribed.on_target(
        "INSERT INTO pg_replication_origin VALUES (99, %s)", origin, superuser=True
    )
    try:
        with subscribed.target.connect(subscribed.database) as conn:
            left = dropping.drop(conn, name, deadline=time.monotonic() + 30)
        with subscribed.source.connect(subscribed.database) as conn:
            dropping.drop_copy_slots(conn, left, "orders-1")
    finally:
        subscribed.on_target("DELETE FROM pg_replication_origin WHERE roident = 99", superuser=True)
        subscribed.on_target(
            "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC", superuser=True
        )
    assert f"its replication origin {origin} stays: permission denied for function" in caplog.text
    assert f"slots pg_{oid}_sync_" in caplog.text
    assert "may be left on orders-1" in caplog.text
    _nothing_made(subscribed)


def test_row_security_that_would_filter_the_apply(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    subscribed.on_target(
        f"CREATE ROLE tenant; GRANT tenant TO {MASTER}; ALTER TABLE orders OWNER TO tenant;"
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY",
        superuser=True,
    )
    try:
        with pytest.raises(HostError) as error:
            host.create(subscribed.props)
    finally:
        subscribed.on_target("DROP OWNED BY tenant; DROP ROLE tenant", superuser=True)
    assert "row security would filter what is applied to public.orders" in _one_line(error)


def test_no_apply_worker_left(host: ProviderHost, subscribed: Subscribed) -> None:
    subscribed.target_lab.configure(max_logical_replication_workers="0")
    subscribed.target_lab.restart()
    try:
        with pytest.raises(HostError) as error:
            host.create(subscribed.props)
    finally:
        subscribed.target_lab.configure(max_logical_replication_workers="4")
        subscribed.target_lab.restart()
    assert "raise max_logical_replication_workers" in _one_line(error)
    _nothing_made(subscribed)


def test_no_sender_left(host: ProviderHost, subscribed: Subscribed) -> None:
    subscribed.source_lab.configure(max_wal_senders="0")
    subscribed.source_lab.restart()
    try:
        with pytest.raises(HostError) as error:
            host.create(subscribed.props)
    finally:
        subscribed.source_lab.configure(max_wal_senders="10")
        subscribed.source_lab.restart()
    assert "raise max_wal_senders" in _one_line(error)
    _nothing_made(subscribed)


def test_no_origin_left(host: ProviderHost, subscribed: Subscribed) -> None:
    new = subscribed.target_lab.major >= 18
    parameter = "max_active_replication_origins" if new else "max_replication_slots"
    subscribed.target_lab.configure(**{parameter: "0"})
    subscribed.target_lab.restart()
    try:
        with pytest.raises(HostError) as error:
            host.create(subscribed.props)
    finally:
        subscribed.target_lab.configure(**{parameter: "40"})
        subscribed.target_lab.restart()
    assert parameter in _one_line(error)


@pytest.mark.parametrize("by", ["update", "refresh and update"])
def test_password_rotation_keeps_slot_and_rows(
    host: ProviderHost, subscribed: Subscribed, by: str
) -> None:
    """The role's password first, then the secret: the next update fixes the connection."""
    made = host.create(subscribed.props)
    oid = subscribed.on_target("SELECT oid FROM pg_subscription")
    subscribed.wait_until_worker()
    subscribed.write()
    subscribed.set_role_password("new 'p@ss\\ % #")
    subscribed.set_secret("new 'p@ss\\ % #")
    if by != "update":
        found = host.read(made)
        assert found is not None
        # On Aurora nobody may read the connection: there the version of the secret tells.
        told = (
            "the replication secret was rotated"
            if subscribed.target_lab.aurora
            else "its connection's login differs from the replication secret"
        )
        assert found.outs["live"]["drift"] == [told]
        assert host.diff(found, subscribed.props).changes
        made = found
    made = host.update(made, subscribed.props)
    found = host.read(made)
    assert found is not None
    assert not host.diff(found, subscribed.props).changes
    subscribed.source_lab.restart()  # so that the worker has to log in anew
    subscribed.write(2)
    subscribed.wait_until_equal()
    assert subscribed.on_target("SELECT oid FROM pg_subscription") == oid
    assert len(subscribed.on_source("SELECT FROM pg_replication_slots")) == 1


def test_password_rotation_is_seen_by_a_role_that_may_not_read_the_connection(
    host: ProviderHost, subscribed: Subscribed, plain_admin: str
) -> None:
    """On Aurora nobody may: there the version of the secret tells."""
    made = host.create(subscribed.props | {"server": _superuser(subscribed).target.to_props()})
    subscribed.on_target(
        f'GRANT SELECT ON pg_replication_origin_status TO "{plain_admin}";'
        f'GRANT EXECUTE ON FUNCTION pg_show_replication_origin_status() TO "{plain_admin}"',
        superuser=True,
    )
    as_plain = replace(made, outs=made.outs | {"server": subscribed.target.to_props()})
    live = host.read(as_plain)
    assert live is not None
    assert live.outs["live"]["drift"] == []
    subscribed.set_secret(PASSWORD)  # the same again is a new version
    live = host.read(live)
    assert live is not None
    assert live.outs["live"]["drift"] == ["the replication secret was rotated"]


def _superuser(this: Subscribed) -> Subscribed:
    admin = this.placed.secret("super-again", "clusteradmin", PASSWORD)
    return replace(
        this,
        target=replace(
            this.target, credentials=replace(this.target.credentials, admin_secret_arn=admin)
        ),
    )


def test_a_rotation_that_was_done_by_half_is_refused(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """The server would take any password and its worker fail afterwards, in the log alone."""
    made = host.create(subscribed.props)
    subscribed.wait_until_worker()
    subscribed.set_secret("hunter2")
    with pytest.raises(HostError) as error:
        host.update(made, subscribed.props)
    assert "fix the secret" in _one_line(error)
    subscribed.write()
    subscribed.wait_until_equal()


def test_the_owner_may_be_another_role(host: ProviderHost, subscribed: Subscribed) -> None:
    """One that the master may become can't become the master: it is given what it writes."""
    subscribed.on_target(
        f'CREATE ROLE "Sub Owner"; GRANT "Sub Owner" TO {MASTER};'
        f'GRANT CREATE ON DATABASE {subscribed.database} TO "Sub Owner";'
        'GRANT USAGE ON SCHEMA bluegreen TO "Sub Owner";'
        'GRANT ALL ON orders, bluegreen.heartbeat TO "Sub Owner"'
    )
    wish = subscribed.props | {"owner": "Sub Owner", "run_as_owner": True}
    try:
        with pytest.raises(HostError) as error:
            host.create(wish)
        assert 'ALTER ROLE "Sub Owner" LOGIN' in _one_line(error)
        subscribed.on_target('ALTER ROLE "Sub Owner" LOGIN')
        subscribed.on_target(f"REVOKE CONNECT ON DATABASE {subscribed.database} FROM PUBLIC")
        with pytest.raises(HostError) as error:
            host.create(wish)
        cure = f'GRANT CONNECT ON DATABASE "{subscribed.database}" TO "Sub Owner"'
        assert _one_line(error).endswith(cure)
        subscribed.on_target(cure)
        host.create(wish)
        subscribed.write()
        subscribed.wait_until_equal()
        wait_until(
            lambda: (
                subscribed.on_target("SELECT subowner::regrole::text FROM pg_subscription")
                == [('"Sub Owner"',)]
            ),
            "the owner",
        )
    finally:
        subscribed.alter("OWNER TO rdsadmin")
        subscribed.on_target('DROP OWNED BY "Sub Owner"; DROP ROLE "Sub Owner"', superuser=True)
