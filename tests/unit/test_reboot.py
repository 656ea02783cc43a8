"""An instance's reboot, as the lab's AWS takes it or refuses it."""

from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError

from bluegreen.postgres.server import Credentials, Server
from bluegreen.upgrade import parameters
from tests.fixtures.aws_api import REGION, AwsApi


def test_an_instance_that_is_being_modified_is_rebooted_when_that_is_over(
    library_at_aws_api: AwsApi,
) -> None:
    rds = library_at_aws_api.make_cluster("rebooted")
    server = Server("rebooted", REGION, "127.0.0.1", 5432, Credentials("a", "r", tls="disable"))
    with pytest.raises(ClientError, match="InvalidDBInstanceState"):
        rds.reboot_db_instance(DBInstanceIdentifier="rebooted-1")  # it is being made
    parameters.reboot_instance(server, "rebooted-1", deadline=time.monotonic() + 30)
    rds.modify_db_instance(DBInstanceIdentifier="rebooted-1", PromotionTier=3)
    parameters.reboot_instance(server, "rebooted-1", deadline=time.monotonic() + 30)
