"""When an environment may go, decided over what was seen."""

from __future__ import annotations

from dataclasses import replace

from bluegreen.deployment.retirement import Retirement, RetirementFacts, problem, protected
from bluegreen.postgres.server import Credentials, Server

SERVER = Server("orders-1", "eu-west-1", "127.0.0.1", 5432, Credentials("a", "r"))
BLUE = Retirement(SERVER, ("app",), "blue", None, deletion_protection=False, retire=False)
GREEN = replace(BLUE, stack="green", deployment="green")
IDLE = RetirementFacts("orders-1", closed=True, attempt=None, slots=(), subscriptions=())


def refused(asked: Retirement, found: RetirementFacts) -> str:
    text = problem(asked, found)
    assert text is not None
    assert "\n" not in text
    return text


def test_the_protection_names_the_two_commands_that_lift_it() -> None:
    text = protected(replace(BLUE, deletion_protection=True))
    assert (
        "pulumi config set --path bluegreen:environment.deletion_protection false -s blue" in text
    )
    assert text.endswith("&& pulumi up -s blue")


def test_a_closed_environment_that_nobody_needs_may_go() -> None:
    assert problem(BLUE, IDLE) is None


def test_the_writer_stays_unless_it_was_retired() -> None:
    writer = replace(IDLE, closed=False)
    assert "is the writer" in refused(BLUE, writer)
    assert problem(replace(BLUE, retire=True), writer) is None


def test_a_switch_in_progress_comes_first() -> None:
    found = replace(IDLE, closed=False, attempt="attempt 1 preparing")
    assert "a switch is in progress (attempt 1 preparing)" in refused(BLUE, found)


def test_the_source_stays_while_a_deployment_reads_from_it() -> None:
    found = replace(IDLE, slots=("bg_green_forward_app",))
    retired = replace(BLUE, retire=True)
    assert "slot bg_green_forward_app" in refused(retired, replace(found, closed=False))


def test_the_source_stays_in_the_rollback_window() -> None:
    found = replace(IDLE, subscriptions=(("bg_green_reverse", "app"),))
    assert "subscription bg_green_reverse in app" in refused(BLUE, found)


def test_a_target_may_go_with_what_its_own_deployment_made() -> None:
    found = replace(
        IDLE,
        slots=("bg_green_reverse_app",),
        subscriptions=(("bg_green_forward", "app"),),
    )
    assert problem(GREEN, found) is None


def test_a_target_stays_while_others_read_from_it() -> None:
    found = replace(IDLE, slots=("bg_green_reverse_app", "debezium", "bg_purple_forward_app"))
    text = refused(GREEN, found)
    assert "slot debezium, slot bg_purple_forward_app" in text
    assert "bg_green" not in text
