"""What the fence can't hold is refused by name before a switch, on real servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluegreen.finding import Finding, Level
from bluegreen.switch.readiness import report
from bluegreen.switch.readiness.report import Question
from bluegreen.switch.switchover import switch
from tests.fixtures.postgres import MASTER
from tests.fixtures.replicated import DATABASE, DEPLOYMENT
from tests.fixtures.switchable import APP, Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


@pytest.fixture
def blockers(switchable: Switchable) -> Callable[..., list[str]]:
    """Return a function that returns the blockers of the cutover, each as its line."""

    def found(*accept_stale: str) -> list[str]:
        pair = switchable.pair
        asked = Question(DEPLOYMENT, pair.source, pair.target, (DATABASE,), accept_stale)
        return [one.line() for one in report.check(asked) if one.level is Level.BLOCK]

    return found


def test_what_the_fence_can_not_hold_is_named_and_nothing_else(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    assert blockers() == []
    with switchable.pair.source_lab.connect() as conn:
        conn.execute(f"ALTER ROLE {APP} SET default_transaction_read_only = off")
        assert [line for line in blockers() if APP in line] == blockers()
        assert "RESET default_transaction_read_only" in blockers()[0]
        conn.execute(f"ALTER ROLE {APP} RESET default_transaction_read_only")
        conn.execute(
            f"ALTER ROLE {APP} IN DATABASE {DATABASE} SET default_transaction_read_only = off"
        )
        assert f"{APP} in {DATABASE}" in blockers()[0]
        conn.execute(f"ALTER ROLE {APP} IN DATABASE {DATABASE} RESET ALL")
        assert blockers() == []


def test_a_prepared_transaction_is_named(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    with switchable.pair.source_lab.connect(DATABASE) as conn:
        conn.execute("BEGIN; INSERT INTO ledger DEFAULT VALUES; PREPARE TRANSACTION 'held'")
        assert [line.partition(";")[0] for line in blockers()] == ["prepared transactions: held"]
        conn.execute("ROLLBACK PREPARED 'held'")
    assert blockers() == []


def test_a_table_that_is_not_wholly_replicated_is_named_unless_accepted(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    name = "bg_green_forward"
    with switchable.pair.source_lab.connect(DATABASE) as conn:
        conn.execute(f"DROP PUBLICATION {name}")
        conn.execute(f"CREATE PUBLICATION {name} FOR TABLE ledger, bluegreen.heartbeat")
    assert any("public.probe" in line and "accept_stale" in line for line in blockers())
    assert not any("not wholly" in line for line in blockers("public.probe"))


def test_a_standby_without_its_worker_is_named(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    with switchable.pair.target_lab.connect(DATABASE) as conn:
        conn.execute("ALTER SUBSCRIPTION bg_green_forward DISABLE")
    assert any("replication: is disabled" in line for line in blockers())


def test_what_an_ordinary_master_may_not_do_is_named(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    """Aurora's master is no superuser: it fences by being the databases' owner."""
    with switchable.pair.source_lab.connect() as conn:
        conn.execute(
            f"CREATE ROLE other; CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'boss';"
            f"ALTER DATABASE {DATABASE} OWNER TO other;"
            f"ALTER ROLE {MASTER} NOSUPERUSER; GRANT pg_monitor, pg_read_all_data TO {MASTER}"
        )
        with switchable.pair.source_lab.connect(DATABASE, user="boss", password="boss"):
            said = "\n".join(blockers())
        assert f"databases of others: {DATABASE} of other" in said
        assert f"sessions of superusers: boss in {DATABASE}" in said


def test_what_differs_between_the_sides_is_named_whatever_the_tool_has_closed(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    pair = switchable.pair
    switchable.connect(pair.source).close()
    with pair.connect(pair.source) as conn:
        conn.execute("ALTER TABLE probe ADD COLUMN late text")
        assert blockers() == [
            f"{DATABASE}: column public.probe.late: only on orders-1; "
            "on orders-2: ALTER TABLE public.probe ADD COLUMN late text"
        ]
        conn.execute("ALTER TABLE probe DROP COLUMN late")
    there = switch(switchable.cutover())
    switchable.run_reverse(str(there.mark))
    back = Question(DEPLOYMENT, pair.target, pair.source, (DATABASE,), ())
    wait_until(lambda: not _blockers(back), "the way back is ready")
    with pair.connect(pair.target) as conn:
        conn.execute(f"REVOKE INSERT ON ledger FROM {APP}; ALTER ROLE {APP} NOLOGIN")
    found = {one.subject: one for one in _blockers(back)}
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
    assert not _blockers(back)


def _blockers(asked: Question) -> list[Finding]:
    return [one for one in report.check(asked) if one.level is Level.BLOCK]


def test_a_switch_that_others_have_carried_out_is_no_blocker(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    """The host died behind the decision, its local fuse went on: replication is stopped by now."""
    switch(switchable.cutover())
    assert blockers() == []


def test_code_that_was_made_since_and_that_an_apply_worker_would_run_is_named(
    switchable: Switchable, blockers: Callable[..., list[str]]
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
        found = [line for line in blockers() if "stamp on public.ledger (ALWAYS)" in line]
        assert any(f"{DATABASE} on {where}: triggers" in line for line in found)


def test_a_transaction_timeout_of_the_standby_is_named(
    switchable: Switchable, blockers: Callable[..., list[str]]
) -> None:
    with switchable.pair.target_lab.connect() as conn:
        conn.execute(f"ALTER DATABASE {DATABASE} SET transaction_timeout = '2s'")
        (line,) = [line for line in blockers() if "transaction_timeout is 2s" in line]
        conn.execute(line.partition("; ")[2].partition(";")[0].encode())
    assert not any("transaction_timeout" in line for line in blockers())
