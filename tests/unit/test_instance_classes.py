"""Instance classes, by what AWS offers: a wrong one is named before anything is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.aws import instance_classes
from bluegreen.deployment import preconditions
from bluegreen.deployment.spec import DeploymentSpec
from bluegreen.errors import Refused
from bluegreen.postgres.server import Credentials
from dynamic_providers.deployment_spec import stack_spec
from tests.fixtures.rds import REGION

# A version that moto has options of; the lab's AWS says nothing of the lab's own.
VERSION = "11.9"
OFFERED = {"db.r6g.large": True, "db.r6g.xlarge": True, "db.t4g.medium": False}
PLAIN = DeploymentSpec(
    spec=stack_spec(
        {"stack": "blue", "cluster_identifier": "orders", "region": REGION, "databases": ["app"]}
    ),
    credentials=Credentials("a", "r"),
    source=None,
    engine_version=VERSION,
)


@pytest.mark.parametrize(
    ("chosen", "in_global", "said"),
    [
        ("db.r6g.large", True, None),
        ("db.t4g.medium", False, None),
        ("db.t4g.medium", True, "takes it in no global database for 18.4 in eu-west-1; name one"),
        ("db.r6g.huge", False, "offers no such class for 18.4 in eu-west-1; name one of db.r6g.l"),
        ("db.nope", True, "name one of db.r6g.large, db.r6g.xlarge"),
    ],
)
def test_a_class_is_judged_by_what_is_offered(
    chosen: str, in_global: bool, said: str | None
) -> None:
    found = instance_classes.problem(REGION, "18.4", chosen, OFFERED, in_global=in_global)
    assert (found is None) is (said is None)
    if said is not None:
        assert said in str(found)


def test_a_version_of_which_nothing_is_offered_says_nothing() -> None:
    assert instance_classes.problem(REGION, "16.10", "db.nope", {}, in_global=True) is None


@pytest.mark.usefixtures("placed")
def test_the_first_update_refuses_it_before_anything_else() -> None:
    preconditions.prepare(replace(PLAIN, instance_classes={REGION: ["db.r5.large"]}))
    with pytest.raises(
        Refused, match=r"instance class db.nope: AWS offers no such class for 11\.9"
    ):
        preconditions.prepare(replace(PLAIN, instance_classes={REGION: ["db.nope"]}))
    unknown = replace(PLAIN, engine_version="18.4", instance_classes={REGION: ["db.nope"]})
    preconditions.prepare(unknown)
