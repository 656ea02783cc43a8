"""A subscription and its slot: one that was moved or recreated by hand has skipped rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluegreen.lsn import Lsn
from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres.clone import wait_until
from tests.fixtures.provider_host import Host, HostError, ProviderHost
from tests.fixtures.subscribed import Subscribed


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(SubscriptionProvider())


def test_create_is_refused_when_the_slot_is_past_the_start(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """The server would send from where the slot is, and leave out what lies between."""
    subscribed.write(2)
    subscribed.on_source(
        "SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", subscribed.slot
    )
    with pytest.raises(HostError, match=r"past the start .* clone again"):
        host.create(subscribed.props)
    assert subscribed.on_target("SELECT FROM pg_subscription") == []


def test_a_missing_slot_is_never_passed_over(host: ProviderHost, subscribed: Subscribed) -> None:
    made = host.create(subscribed.props | {"enabled": False})
    subscribed.on_source("SELECT pg_drop_replication_slot(%s)", subscribed.slot)
    live = host.read(made)
    assert live is not None
    assert live.outs["live"]["drift"] == [f"slot {subscribed.slot} is missing"]
    with pytest.raises(HostError, match=r"missing.*clone again"):
        host.update(live, subscribed.props)


def _advance(this: Subscribed) -> None:
    this.on_source("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", this.slot)


def _make_anew(this: Subscribed) -> None:
    this.on_source("SELECT pg_drop_replication_slot(%s)", this.slot)
    this.on_source("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", this.slot)


@pytest.mark.parametrize("move", [_advance, _make_anew])
@pytest.mark.parametrize("ran_before", [True, False])
def test_a_slot_that_was_moved_while_it_was_disabled_is_told(
    host: ProviderHost, subscribed: Subscribed, move: Callable[[Subscribed], None], ran_before: bool
) -> None:
    """What was written meanwhile is missing, without an error: seen, once it is enabled by hand."""
    made = host.create(subscribed.props | {"enabled": ran_before})
    if ran_before:
        subscribed.write()
        subscribed.wait_until_equal()
        made = host.update(made, subscribed.props | {"enabled": False})
    subscribed.write()
    (*before, lost) = subscribed.ids("source")
    move(subscribed)
    said = r"moved, or recreated, by hand.*clone again"
    with pytest.raises(HostError, match=said) as raised:
        host.update(made, subscribed.props)
    assert "\n" not in str(raised.value)
    with pytest.raises(HostError, match=said):
        host.create(made.inputs)
    subscribed.alter("ENABLE")
    subscribed.write()
    wait_until(lambda: subscribed.ids("target") == [*before, lost + 1], "all but the lost row")


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_slot_past_the_origin_is_right_when_only_unpublished_wal_lies_between(
    host: ProviderHost, subscribed: Subscribed, by_hand: bool
) -> None:
    made = host.create(subscribed.props)
    subscribed.write()
    subscribed.wait_until_equal()
    ((applied,),) = subscribed.on_target("SELECT remote_lsn FROM pg_replication_origin_status")
    subscribed.on_source("SELECT pg_logical_emit_message(false, 'other', repeat('x', 100000))")
    wait_until(lambda: subscribed.confirmed() > Lsn.parse(applied), "a slot past the origin")
    if by_hand:
        subscribed.alter("DISABLE")
    else:
        made = host.update(made, subscribed.props | {"enabled": False})
    subscribed.write()
    host.update(made, subscribed.props)
    subscribed.wait_until_equal()
