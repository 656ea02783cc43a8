"""The resource types, by token; one file for each."""

from __future__ import annotations

from collections.abc import Mapping

from lab.aws_plugin.spec import Spec
from lab.aws_plugin.types import (
    cluster,
    cluster_instance,
    global_cluster,
    parameter_group,
    record,
    subnet_group,
)

SPECS: Mapping[str, Spec] = {
    "aws:rds/cluster:Cluster": cluster.SPEC,
    "aws:rds/clusterInstance:ClusterInstance": cluster_instance.SPEC,
    "aws:rds/clusterParameterGroup:ClusterParameterGroup": parameter_group.CLUSTER_SPEC,
    "aws:rds/globalCluster:GlobalCluster": global_cluster.SPEC,
    "aws:rds/parameterGroup:ParameterGroup": parameter_group.INSTANCE_SPEC,
    "aws:rds/subnetGroup:SubnetGroup": subnet_group.SPEC,
    "aws:route53/record:Record": record.SPEC,
}
