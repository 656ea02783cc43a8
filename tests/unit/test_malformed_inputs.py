"""What no update could use is refused at preview: which input, what it is, what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from dynamic_providers.caught_up import CaughtUpProvider
from dynamic_providers.clone_origin import CloneOriginProvider
from dynamic_providers.deployment import DeploymentProvider
from dynamic_providers.engine_upgrade import EngineUpgradeProvider
from dynamic_providers.parameter_apply import ParameterApplyProvider
from dynamic_providers.provider import Provider
from dynamic_providers.publication import PublicationProvider
from dynamic_providers.replication_slot import ReplicationSlotProvider
from dynamic_providers.retirement_guard import RetirementGuardProvider
from dynamic_providers.sequence_values import SequenceValuesProvider
from dynamic_providers.subscription import SubscriptionProvider
from dynamic_providers.switchover import SwitchoverProvider

LONG = "n" * 64


@pytest.mark.parametrize(
    ("provider", "key", "given", "reason"),
    [
        (
            CaughtUpProvider(),
            "direction",
            "backward",
            "got 'backward', allowed are forward, reverse",
        ),
        (
            CaughtUpProvider(),
            "lag_seconds",
            -1.0,
            "got -1.0, expected greater than or equal to 0",
        ),
        (CaughtUpProvider(), "databases", [], "none; expected at least one name"),
        (CaughtUpProvider(), "databases", "app", "got 'app', expected a list"),
        (CloneOriginProvider(), "slots", [{"name": "s"}], "[0].database: is missing"),
        (
            CloneOriginProvider(),
            "roles",
            {"old_side": "open"},
            "old_side: got 'open', allowed are closed, readable",
        ),
        (DeploymentProvider(), "credentials", {}, "admin_secret_arn: is missing"),
        (DeploymentProvider(), "cutover", "maybe", "got 'maybe', expected true or false"),
        (
            EngineUpgradeProvider(),
            "engine_version",
            "18",
            "got '18', expected major.minor such as 17.7",
        ),
        (EngineUpgradeProvider(), "timeout_seconds", "long", "got 'long', expected a number"),
        (
            ParameterApplyProvider(),
            "allow_reboot",
            "always",
            "got 'always', allowed are never, window, now",
        ),
        (
            ParameterApplyProvider(),
            "parameters",
            {"max_wal_senders": ["20"]},
            "max_wal_senders: got list, expected text",
        ),
        (PublicationProvider(), "name", LONG, f"got '{LONG}', expected 1 to 63 bytes"),
        (PublicationProvider(), "scope", "all", "got 'all', expected a mapping"),
        (ReplicationSlotProvider(), "server", "orders-1", "got 'orders-1', expected a mapping"),
        (ReplicationSlotProvider(), "database", None, "is missing"),
        (RetirementGuardProvider(), "stack", 5.0, "got 5.0, expected text"),
        (
            SequenceValuesProvider(),
            "tolerance",
            0.5,
            "0.5 calls; expected a whole number from 0 on",
        ),
        (SubscriptionProvider(), "streaming", "fast", "got 'fast', allowed are off, on, parallel"),
        (SubscriptionProvider(), "origin", "all", "got 'all', allowed are none, any"),
        (SubscriptionProvider(), "publication", [], "none; expected at least one name"),
        (
            SubscriptionProvider(),
            "start_lsn",
            "12",
            "LSN: got '12', expected two hexadecimal numbers such as 16/B374D848",
        ),
        (SwitchoverProvider(), "writer", "green", "got 'green', allowed are source, target"),
        (
            SwitchoverProvider(),
            "switch",
            {"lag_seconds": 1.0, "drain_seconds": 1.0, "fence": "none"},
            "fence: got 'none', allowed are read-only, no-login",
        ),
        (SwitchoverProvider(), "dns", {"zone_id": "Z", "ttl": 5.0}, "writer: is missing"),
    ],
)
def test_it_is_refused_in_one_line(provider: Provider, key: str, given: Any, reason: str) -> None:
    failures = provider.check({}, {key: given}).failures
    assert [one.reason for one in failures if one.property == key] == [reason]
