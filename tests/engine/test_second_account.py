"""The wrong login: what lives in another account is neither gone nor changed."""

from __future__ import annotations

import pytest

from tests.fixtures.lab import SOURCE, Lab
from tests.fixtures.rds import ACCOUNT, SECOND_ACCOUNT, in_account

WRONG = f"AWS was asked in account {SECOND_ACCOUNT}, and this environment is in {ACCOUNT}"


def test_nothing_is_destroyed_or_previewed_from_another_account(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There every cluster is unknown, and a guard that took it for gone would let all of it go."""
    before = lab.made()
    with monkeypatch.context() as there:
        for name, value in in_account(lab.aws("sts"), SECOND_ACCOUNT).items():
            there.setitem(lab.world.environment, name, value)
        # A destroy runs no program; the program of a preview asks for its secret first of all.
        for command, said in (
            (("destroy", "--yes", "--skip-preview"), WRONG),
            (("preview",), "can't find the specified secret"),
        ):
            code, text = lab.world.try_pulumi(*command, "-s", SOURCE, "--color=never")
            assert code != 0, text
            assert said in text
    assert lab.made() == before
    lab.world.pulumi("preview", "-s", SOURCE, "--expect-no-changes")


def test_an_identity_of_the_plugin_alone_is_refused_by_name(lab: Lab) -> None:
    assert "aws:profile: would reach the AWS plugin only" in lab.refused(
        lab.new_stack("aws:profile=production")
    )
