"""aws:rds/subnetGroup:SubnetGroup."""

from __future__ import annotations

from botocore.exceptions import ClientError

from lab.aws_plugin.spec import Aws, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.values import Props


class _SubnetGroup:
    def create(self, aws: Aws, news: Props) -> str:
        aws.client("rds", news.get("region")).create_db_subnet_group(
            DBSubnetGroupName=news["name"],
            DBSubnetGroupDescription=news.get("description") or "Managed by Pulumi",
            SubnetIds=news["subnetIds"],
            Tags=tagging.as_list(news),
        )
        return str(news["name"])

    def read(self, aws: Aws, identity: str, known: Props) -> Props | None:
        rds = aws.client("rds", known.get("region"))
        try:
            answer = rds.describe_db_subnet_groups(DBSubnetGroupName=identity)
        except ClientError as error:
            if "NotFound" in error.response["Error"]["Code"]:
                return None
            raise
        found = answer["DBSubnetGroups"][0]
        arn = found["DBSubnetGroupArn"]
        live = {
            "arn": arn,
            "description": found["DBSubnetGroupDescription"],
            "name": found["DBSubnetGroupName"],
            "region": arn.split(":")[3],
            "subnetIds": [subnet["SubnetIdentifier"] for subnet in found["Subnets"]],
            "vpcId": found["VpcId"],
        }
        tags = rds.list_tags_for_resource(ResourceName=arn)["TagList"]
        return live | tagging.as_map(tags)

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        changed = any(news.get(name) != olds.get(name) for name in ("subnetIds", "description"))
        if changed:
            rds.modify_db_subnet_group(
                DBSubnetGroupName=identity,
                DBSubnetGroupDescription=news.get("description") or "Managed by Pulumi",
                SubnetIds=news["subnetIds"],
            )
        tagging.update(rds, olds["arn"], olds, news)

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        if self.read(aws, identity, olds) is not None:
            aws.client("rds", olds.get("region")).delete_db_subnet_group(DBSubnetGroupName=identity)


SPEC = Spec(
    operations=_SubnetGroup(),
    required=names("subnetIds"),
    optional=names("description name namePrefix"),
    computed=names("description name namePrefix"),
    outputs=names("arn vpcId"),
    replaces=names("name namePrefix"),
    sets=names("subnetIds"),
    autonamed=True,
)
