"""What the fence can't hold is refused by name before a switch, on real servers."""

from __future__ import annotations

import pytest

from bluegreen.finding import Level
from bluegreen.switch.switchover import switch
from tests.fixtures.postgres import MASTER
from tests.fixtures.readiness import blockers, findings
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import APP, Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def test_what_the_fence_can_not_hold_is_named_and_nothing_else(switchable: Switchable) -> None:
    assert blockers(switchable) == []
    with switchable.pair.source_lab.connect() as conn:
        conn.execute(f"ALTER ROLE {APP} SET default_transaction_read_only = off")
        assert [line for line in blockers(switchable) if APP in line] == blockers(switchable)
        assert "RESET default_transaction_read_only" in blockers(switchable)[0]
        conn.execute(f"ALTER ROLE {APP} RESET default_transaction_read_only")
        conn.execute(
            f"ALTER ROLE {APP} IN DATABASE {DATABASE} SET default_transaction_read_only = off"
        )
        assert f"{APP} in {DATABASE}" in blockers(switchable)[0]
        conn.execute(f"ALTER ROLE {APP} IN DATABASE {DATABASE} RESET ALL")
        assert blockers(switchable) == []


def test_a_prepared_transaction_is_named(switchable: Switchable) -> None:
    with switchable.pair.source_lab.connect(DATABASE) as conn:
        conn.execute("BEGIN; INSERT INTO ledger DEFAULT VALUES; PREPARE TRANSACTION 'held'")
        assert [line.partition(";")[0] for line in blockers(switchable)] == [
            "prepared transactions: held"
        ]
        conn.execute("ROLLBACK PREPARED 'held'")
    assert blockers(switchable) == []


def test_a_table_that_is_not_wholly_replicated_is_named_unless_accepted(
    switchable: Switchable,
) -> None:
    name = "bg_green_forward"
    with switchable.pair.source_lab.connect(DATABASE) as conn:
        conn.execute(f"DROP PUBLICATION {name}")
        conn.execute(f"CREATE PUBLICATION {name} FOR TABLE ledger, bluegreen.heartbeat")
    assert any("public.probe" in line and "accept_stale" in line for line in blockers(switchable))
    assert not any("not wholly" in line for line in blockers(switchable, "public.probe"))


def test_a_standby_without_its_worker_is_named(switchable: Switchable) -> None:
    with switchable.pair.target_lab.connect(DATABASE) as conn:
        conn.execute("ALTER SUBSCRIPTION bg_green_forward DISABLE")
    assert any("replication: is disabled" in line for line in blockers(switchable))


def test_what_an_ordinary_master_may_not_do_is_named(switchable: Switchable) -> None:
    """Aurora's master is no superuser: it fences by being the databases' owner."""
    with switchable.pair.source_lab.as_superuser() as conn:
        conn.execute(
            f"CREATE ROLE other; CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'boss';"
            f"ALTER DATABASE {DATABASE} OWNER TO other;"
            f"ALTER ROLE {MASTER} NOSUPERUSER; GRANT pg_monitor, pg_read_all_data TO {MASTER}"
        )
        with switchable.pair.source_lab.connect(DATABASE, user="boss", password="boss"):
            said = "\n".join(blockers(switchable))
        assert f"databases of others: {DATABASE} of other" in said
        assert f"sessions of superusers: boss in {DATABASE}" in said


def test_what_differs_between_the_sides_is_named_whatever_the_tool_has_closed(
    switchable: Switchable,
) -> None:
    pair = switchable.pair
    switchable.connect(pair.source).close()
    with pair.connect(pair.source) as conn:
        conn.execute("ALTER TABLE probe ADD COLUMN late text")
        assert blockers(switchable) == [
            f"{DATABASE}: column public.probe.late: only on orders-1; with the DEFAULT that it was"
            " added with, on orders-2: ALTER TABLE public.probe ADD COLUMN late text"
        ]
        conn.execute("ALTER TABLE probe DROP COLUMN late")
    there = switch(switchable.cutover())
    switchable.run_reverse(str(there.mark))
    wait_until(lambda: not blockers(switchable, back=True), "the way back is ready")
    with pair.connect(pair.target) as conn:
        conn.execute(f"REVOKE INSERT ON ledger FROM {APP}; ALTER ROLE {APP} NOLOGIN")
    found = {one.subject: one for one in findings(switchable, Level.BLOCK, back=True)}
    assert set(found) == {
        f"cluster: login {APP}",
        f"{DATABASE}: privilege {APP} on TABLE public.ledger",
    }
    for one in found.values():
        statement = one.remedy.rpartition(": ")[2]
        database = DATABASE if "REVOKE" in statement else "bluegreen"
        with pair.source_lab.connect(
            database, options="-c default_transaction_read_only=off"
        ) as conn:
            conn.execute(statement.encode())
    assert not blockers(switchable, back=True)


def test_a_switch_that_others_have_carried_out_is_no_blocker(switchable: Switchable) -> None:
    """The host died behind the decision, its local fuse went on: replication is stopped by now."""
    switch(switchable.cutover())
    assert blockers(switchable) == []


def test_code_that_was_made_since_and_that_an_apply_worker_would_run_is_named(
    switchable: Switchable,
) -> None:
    for lab, where in (
        (switchable.pair.target_lab, "the standby"),
        (switchable.pair.source_lab, "the writer"),
    ):
        with lab.connect(DATABASE) as conn:
            conn.execute(
                "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN RETURN NEW; END'"
            )
            conn.execute(
                "CREATE TRIGGER stamp BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION stamp()"
            )
            conn.execute("ALTER TABLE ledger ENABLE ALWAYS TRIGGER stamp")
        found = [line for line in blockers(switchable) if "stamp on public.ledger (ALWAYS)" in line]
        assert any(f"{DATABASE} on {where}: triggers" in line for line in found)


def test_a_transaction_timeout_of_the_standby_is_named(switchable: Switchable) -> None:
    with switchable.pair.target_lab.connect() as conn:
        conn.execute(f"ALTER DATABASE {DATABASE} SET transaction_timeout = '2s'")
        (line,) = [line for line in blockers(switchable) if "transaction_timeout is 2s" in line]
        conn.execute(line.partition("; ")[2].partition(";")[0].encode())
    assert not any("transaction_timeout" in line for line in blockers(switchable))
