"""What all resources with a server behind them do alike, through the real provider host.

What only one of them does is in a file of its own: test_publication.py and its like.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from lab.postgres.clone import wait_until
from tests.fixtures.contract import Subject
from tests.fixtures.postgres import MASTER, PASSWORD
from tests.fixtures.provider_host import HostError
from tests.fixtures.subjects import of, of_each

_WRONG = "hunter2"
_PART = "w!o#r"  # of the right one, which no escape in a text of the state would change


def refusal(act: Callable[[], object], words: str) -> None:
    """Require that `words`, a pattern, are said in place of a result: in one line, no secret."""
    with pytest.raises(HostError) as raised:
        act()
    said = str(raised.value)
    assert re.search(words, said), said
    assert "\n" not in said
    assert "Traceback" not in said
    assert PASSWORD not in said
    assert _WRONG not in said


@of_each()
def test_no_change_gives_no_diff_and_no_password_is_in_the_state(subject: Subject) -> None:
    made = subject.host.create(subject.props)
    assert subject.host.check(subject.props, subject.props) == {}
    assert not subject.host.diff(made, subject.props).changes
    live = subject.host.read(made)
    assert live is not None
    assert not live.inputs.keys() & (made.outs.keys() - subject.props.keys())
    assert not subject.host.diff(live, subject.props).changes
    assert _PART in PASSWORD
    assert _PART not in f"{made} {live}"


# These only look: nothing of theirs could be there.
@of_each("gate", "parameters", "guard")
def test_what_is_there_already_is_adopted_and_nothing_written(subject: Subject) -> None:
    first = subject.host.create(subject.props)
    subject.meanwhile()
    before = subject.there()
    again = subject.host.create(subject.props)
    assert before is not None
    assert subject.there() == before
    assert again.id == first.id
    assert [again.outs[key] for key in subject.kept] == [first.outs[key] for key in subject.kept]


# Nothing that either looks at could be somebody else's.
@of_each("gate", "parameters")
def test_what_is_somebody_elses_is_refused_and_left_alone(subject: Subject) -> None:
    change = subject.foreign
    assert change is not None
    assert change.refused is not None
    change.by_hand()
    before = subject.there()
    refusal(lambda: subject.try_it(subject.props), change.refused)
    assert subject.there() == before


# The others hold nothing that could drift: a clone's LSN is read once, who writes is moved by
# switches alone, and a guard is nothing but its wish.
@of("publication", "slot", "subscription", "sequences", "upgrade")
def test_what_was_changed_by_hand_is_shown_by_refresh_and_mended_or_told(subject: Subject) -> None:
    change = subject.drift
    assert change is not None
    made = subject.host.create(subject.props)
    change.by_hand()
    found = subject.there()
    live = subject.host.read(made)
    assert live is not None
    assert {key: live.outs[key] for key in change.shows} == change.shows
    assert subject.host.check(live.inputs, subject.props) == {}
    assert subject.host.diff(live, subject.props).changes
    if change.refused is not None:
        refusal(lambda: subject.host.update(live, subject.props), change.refused)
        assert subject.there() == found
        return
    fixed = subject.host.update(live, subject.props)
    assert subject.there() != found
    assert subject.is_whole()
    again = subject.host.read(fixed)
    assert again is not None
    assert not subject.host.diff(again, subject.props).changes


# What becomes of an origin that was removed is of its own kind, see test_clone_origin_cells.py.
# Nobody can drop parameters, who writes, a version or a guard.
@of_each("origin", "parameters", "switchover", "upgrade", "guard")
def test_what_was_dropped_by_hand_is_told_and_made_again_where_nothing_is_lost(
    subject: Subject,
) -> None:
    change = subject.dropped
    assert change is not None
    wish = subject.props | change.wish
    made = subject.host.create(wish)
    change.by_hand()
    found = subject.there()
    live = subject.host.read(made)
    if live is None:
        assert change.seen_as_gone

        def repeat() -> None:
            subject.host.create(wish)
    else:
        assert not change.seen_as_gone
        assert {key: live.outs[key] for key in change.shows} == change.shows
        assert subject.host.diff(live, wish).changes
        known = live

        def repeat() -> None:
            subject.host.update(known, wish)

    if change.refused is None:
        repeat()
        assert subject.is_whole()
    else:
        refusal(repeat, change.refused)
        assert subject.there() == found


# The others are a stack's, and stay while a cluster is gone: see test_deployment.py, and for the
# guard, which lets go then, test_retirement.py.
@of_each("deployment", "switchover", "guard")
def test_a_cluster_that_aws_says_is_gone_is_gone_and_who_answers_there_now_is_left_alone(
    subject: Subject,
) -> None:
    made = subject.host.create(subject.props)
    before = subject.there()
    subject.remove_from_aws()
    assert subject.host.read(made) is None
    subject.host.delete(made)
    assert before is not None
    assert subject.there() == before


@of_each()
def test_a_server_that_is_out_of_reach_is_an_error_and_never_gone(subject: Subject) -> None:
    made = subject.host.create(subject.props)
    lost = replace(made, outs=subject.out_of_reach(made.outs))
    if subject.asks_aws_alone:
        assert subject.host.read(lost) is not None
    else:
        refusal(lambda: subject.host.read(lost), rf"on {subject.cluster} .*can't connect")


# The gate waits through a restart, so it waits for such a server, too.
@of_each("gate")
def test_nothing_is_made_while_a_server_is_out_of_reach(subject: Subject) -> None:
    before = subject.there()
    lost = subject.out_of_reach(subject.props)
    refusal(lambda: subject.try_it(lost), rf"on {subject.cluster} .*can't connect")
    assert subject.there() == before


# Nothing is to be undone: it stays as it is.
@of("gate", "sequences", "parameters", "switchover", "upgrade")
def test_deleting_what_leaves_nothing_behind_needs_no_server(subject: Subject) -> None:
    made = subject.host.create(subject.props)
    before = subject.there()
    lost = replace(made, outs=subject.out_of_reach(made.outs))
    subject.host.delete(lost)
    subject.host.delete(lost)
    assert subject.there() == before


@of("publication", "slot", "origin", "subscription", "deployment")
def test_deleting_it_twice_leaves_nothing(subject: Subject) -> None:
    made = subject.host.create(subject.props)
    assert subject.there() is not None
    subject.host.delete(made)
    assert subject.there() is None
    subject.host.delete(made)


# It has nothing on a server; what it guards is none of its own.
@of("guard")
def test_a_guard_lets_go_as_often_as_it_is_asked_and_touches_nothing(subject: Subject) -> None:
    made = subject.host.create(subject.props)
    before = subject.there()
    subject.host.delete(made)
    subject.host.delete(made)
    assert before is not None
    assert subject.there() == before


@of("publication", "slot", "origin", "subscription", "guard", long=("origin", "slot"), slow=True)
def test_deleting_it_while_its_server_is_out_of_reach_is_an_error(subject: Subject) -> None:
    """It waits for as long as a restart takes."""
    made = subject.host.create(subject.props)
    before = subject.there()
    lost = replace(made, outs=subject.out_of_reach(made.outs))
    refusal(lambda: subject.host.delete(lost), rf"on {subject.cluster} .*can't connect")
    assert before is not None
    assert subject.there() == before


# A guard doesn't wait: a destruction that it refuses may be tried again.
@of("publication", "slot", "origin", "subscription")
def test_deleting_it_waits_for_a_server_that_restarts(subject: Subject) -> None:
    made = subject.host.create(subject.props)
    subject.lab.stop()
    try:
        with ThreadPoolExecutor() as pool:
            deleting = pool.submit(subject.host.delete, made)
            with pytest.raises(TimeoutError):
                deleting.result(timeout=1)  # it waits
            subject.lab.start()
            deleting.result(timeout=60)
    finally:
        if subject.lab.pid() is None:
            subject.lab.start()
    assert subject.there() is None


# The others wait for nothing that a lock could hold, or are killed at each of their steps
# elsewhere: see tests/chaos. A guard that is ended has not let go.
@of("publication", "slot", "origin", "subscription", "sequences", "upgrade", "guard")
def test_what_is_killed_half_way_is_an_error_and_repeated(subject: Subject) -> None:
    """A lock holds it up; then its session is ended, as the server does for a killed host."""
    assert subject.held_up is not None
    with ThreadPoolExecutor() as pool, subject.lab.connect() as watch:
        with subject.held_up():
            working = pool.submit(subject.try_it, subject.props)
            wait_until(lambda: _ended(watch, subject.waits_in), "it to wait for a lock")
            refusal(lambda: working.result(timeout=60), "terminat|closed the connection")
        subject.meanwhile()
    made = subject.try_it(subject.props)
    assert subject.is_whole()
    live = subject.host.read(made)
    assert live is not None
    assert not subject.host.diff(live, subject.props).changes


def _ended(conn: psycopg.Connection[tuple[object, ...]], database: str) -> bool:
    return bool(
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            " AND application_name = 'bluegreen' AND wait_event_type = 'Lock'",
            (database,),
        ).fetchall()
    )


@of_each()
def test_a_wrong_password_of_either_side_names_its_secret(subject: Subject) -> None:
    before = subject.there()
    for side in subject.sides:
        wish, arn = subject.with_login(side, MASTER, _WRONG)
        words = f"wrong user or password; fix the secret {arn}"
        refusal(lambda wish=wish: subject.try_it(wish), words)  # type: ignore[misc]
    assert subject.there() == before


# The others go by databases of their own, or name it in words of their own; to a guard a database
# that is not there is not closed, so it does not let go.
@of_each("deployment", "parameters", "switchover", "guard")
def test_a_database_that_is_not_there_is_named(subject: Subject) -> None:
    before = subject.there()
    one = "database" in subject.props
    nowhere = {"database": "nowhere"} if one else {"databases": ["nowhere"]}
    refusal(
        lambda: subject.host.create(subject.props | nowhere), 'database "nowhere" does not exist'
    )
    assert subject.there() == before


# A server's parameters are anybody's to read. An upgrade is AWS's work, and what it leaves to the
# administrator is told afterwards, table by table: see test_upgrade.py.
@of_each("parameters", "upgrade")
def test_a_missing_privilege_of_either_side_is_named_with_its_grant(subject: Subject) -> None:
    before = subject.there()
    for side, where in subject.sides.items():
        if where.grant is None:
            continue
        with subject.weak_role(side) as role:
            wish, _ = subject.with_login(side, role, PASSWORD)
            to = re.escape(sql.Identifier(role).as_string())
            words = f"{re.escape(where.grant)}.*{to}"
            refusal(lambda wish=wish: subject.try_it(wish), words)  # type: ignore[misc]
    assert subject.there() == before
