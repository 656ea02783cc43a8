"""Every state with every desired one: what is allowed is the table, all else is refused by name."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.deployment.transition import ALLOWED, StackSpec, StackState, refusals

PLAIN = StackSpec(
    name="green",
    cluster="orders-2",
    region="eu-west-1",
    databases=frozenset({"app"}),
    source_stack="",
    source_cluster="",
    source_region="",
    cutover=False,
    rollback=True,
    rehearsal=False,
)
FORWARD = replace(PLAIN, source_stack="blue", source_cluster="orders-1", source_region="eu-west-1")
SWITCHED = replace(FORWARD, cutover=True)
FINAL = replace(SWITCHED, rollback=False)
REHEARSAL = replace(FORWARD, rehearsal=True)
BY_STATE = {
    StackState.PLAIN: PLAIN,
    StackState.FORWARD: FORWARD,
    StackState.SWITCHED: SWITCHED,
    StackState.FINAL: FINAL,
    StackState.REHEARSAL: REHEARSAL,
}


def reason(had: StackSpec | None, desired: StackSpec) -> str:
    """Return the one refusal, as the user reads it."""
    [found] = refusals(had, desired)
    assert "\n" not in found.reason
    return f"{found.setting}: {found.reason}"


@pytest.mark.parametrize(("had", "desired"), product([None, *StackState], StackState))
def test_the_table_is_the_whole_truth(had: StackState | None, desired: StackState) -> None:
    found = refusals(BY_STATE[had] if had else None, BY_STATE[desired])
    assert bool(found) is (desired not in ALLOWED[had])


def test_each_state_is_recognised_from_its_spec() -> None:
    assert {state: spec.state for state, spec in BY_STATE.items()} == {s: s for s in StackState}


def test_a_first_up_never_cuts_over() -> None:
    assert "cutover: true at the first up" in reason(None, SWITCHED)
    assert "cutover: true without source" in reason(None, replace(PLAIN, cutover=True))


def test_two_flags_in_one_update_are_refused() -> None:
    assert "changed in one update" in reason(FORWARD, FINAL)
    assert "changed in one update" in reason(SWITCHED, replace(FORWARD, rollback=False))


def test_a_source_is_refused_where_an_environment_is() -> None:
    assert reason(PLAIN, FORWARD).startswith("source: source 'blue' on a stack that already has")


@pytest.mark.parametrize("had", [FORWARD, SWITCHED, REHEARSAL])
def test_a_source_stays_until_the_end(had: StackSpec) -> None:
    gone = replace(had, source_stack="", source_cluster="", source_region="", rehearsal=False)
    assert "can't be removed" in reason(had, gone)


@pytest.mark.parametrize("had", [FORWARD, SWITCHED, FINAL, REHEARSAL])
@pytest.mark.parametrize("change", [{"source_stack": "other"}, {"source_cluster": "other"}])
def test_a_source_never_changes(had: StackSpec, change: dict[str, str]) -> None:
    assert "source can't change from 'blue' (orders-1)" in reason(had, replace(had, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("had", [FORWARD, SWITCHED, FINAL])
def test_a_source_unknown_at_preview_is_the_same_source(had: StackSpec) -> None:
    assert refusals(had, replace(had, source_cluster="", source_region="")) == []


def test_the_way_back_can_not_be_given_up_before_the_cutover() -> None:
    early = replace(FORWARD, rollback=False)
    assert "before the cutover" in reason(FORWARD, early)
    assert "before the cutover" in reason(None, early)


@pytest.mark.parametrize("back", [FORWARD, SWITCHED, replace(FORWARD, rollback=False)])
def test_there_is_no_way_back_from_final(back: StackSpec) -> None:
    assert "the way back was given up" in reason(FINAL, back)


def test_leftover_flags_mean_nothing_in_a_plain_stack() -> None:
    finished = replace(PLAIN, cutover=True, rollback=False)
    assert refusals(FINAL, finished) == []
    assert refusals(finished, PLAIN) == []
    assert refusals(FINAL, PLAIN) == []


def test_cutover_on_the_stack_that_is_the_source_is_refused() -> None:
    assert "no source to cut over from" in reason(PLAIN, replace(PLAIN, cutover=True))


def test_a_rehearsal_is_never_cut_over_to() -> None:
    assert "first up" in reason(None, replace(REHEARSAL, cutover=True))
    assert "never cut over to" in reason(REHEARSAL, replace(REHEARSAL, cutover=True))
    assert "without source" in reason(None, replace(PLAIN, rehearsal=True))
    assert "can't change on a stack that stands" in reason(FORWARD, REHEARSAL)


@pytest.mark.parametrize("had", BY_STATE.values(), ids=str)
def test_a_stack_keeps_its_cluster_and_region(had: StackSpec) -> None:
    assert "can't become" in reason(had, replace(had, cluster="orders-3"))
    assert "can't move" in reason(had, replace(had, region="eu-west-2", source_region=""))


@pytest.mark.parametrize("had", [FORWARD, SWITCHED])
def test_databases_are_fixed_while_slots_are_for_them(had: StackSpec) -> None:
    more = replace(had, databases=frozenset({"app", "billing"}))
    assert "changed: billing" in reason(had, more)


@pytest.mark.parametrize("had", [PLAIN, FINAL, REHEARSAL])
def test_databases_may_change_where_nothing_replicates(had: StackSpec) -> None:
    assert refusals(had, replace(had, databases=frozenset({"app", "billing"}))) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"databases": frozenset()}, "no database named", id="none"),
        pytest.param({"databases": frozenset({"bluegreen"})}, "the tool itself", id="tool"),
        pytest.param({"source_stack": "green"}, "its own source", id="own-source"),
        pytest.param({"source_cluster": "orders-2"}, "is the source's", id="same-cluster"),
        pytest.param({"source_region": "us-east-1"}, "only within one Region", id="region"),
    ],
)
def test_specs_that_contradict_themselves(change: dict[str, str], expected: str) -> None:
    assert expected in reason(None, replace(FORWARD, **change))  # type: ignore[arg-type]


specs = st.builds(
    replace,
    st.sampled_from(list(BY_STATE.values())),
    cutover=st.booleans(),
    rollback=st.booleans(),
    rehearsal=st.booleans(),
    source_cluster=st.sampled_from(["", "orders-1", "orders-9"]),
    databases=st.sampled_from([frozenset({"app"}), frozenset({"app", "billing"})]),
)


@given(path=st.lists(specs, max_size=8))
def test_no_walk_leaves_the_table_or_loses_the_source_early(path: list[StackSpec]) -> None:
    had: StackSpec | None = None
    for desired in path:
        if refusals(had, desired):
            continue
        before = had.state if had else None
        assert desired.state in ALLOWED[before]
        # The writer moves only in an update that changes nothing else of the switch.
        if had and had.source and desired.source and had.cutover != desired.cutover:
            assert had.rollback == desired.rollback
        if before in (StackState.FORWARD, StackState.SWITCHED):
            assert desired.source
        had = desired
