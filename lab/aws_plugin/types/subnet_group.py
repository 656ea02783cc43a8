"""aws:rds/subnetGroup:SubnetGroup."""

from __future__ import annotations

from botocore.exceptions import ClientError

from lab.aws_plugin import rules
from lab.aws_plugin.errors import code, doing
from lab.aws_plugin.spec import Aws, Made, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.values import Props


class _SubnetGroup:
    def create(self, aws: Aws, news: Props, made: Made) -> None:
        with doing(f"creating RDS DB Subnet Group ({news['name']})"):
            aws.client("rds", news.get("region")).create_db_subnet_group(
                DBSubnetGroupName=news["name"],
                DBSubnetGroupDescription=news.get("description") or "Managed by Pulumi",
                SubnetIds=news["subnetIds"],
                Tags=tagging.as_list(news),
            )
        made(news["name"])

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
        return live | tagging.as_map(aws, tags, known)

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        changed = any(news.get(name) != olds.get(name) for name in ("subnetIds", "description"))
        if changed:
            with doing(f"updating RDS DB Subnet Group ({identity})"):
                rds.modify_db_subnet_group(
                    DBSubnetGroupName=identity,
                    DBSubnetGroupDescription=news.get("description") or "Managed by Pulumi",
                    SubnetIds=news["subnetIds"],
                )
        tagging.update(rds, olds.get("arn") or "", olds, news)

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        if self.read(aws, identity, olds) is None:
            return
        with doing(f"deleting RDS DB Subnet Group ({identity})"):
            aws.patiently(
                lambda: rds.delete_db_subnet_group(DBSubnetGroupName=identity),
                lambda error: code(error) == "InvalidDBSubnetGroupStateFault",
                minutes=3,
            )


SPEC = Spec(
    operations=_SubnetGroup(),
    required=names("subnetIds"),
    optional=names("description name namePrefix"),
    computed=names("description name namePrefix"),
    outputs=names("arn vpcId"),
    replaces=names("name namePrefix"),
    sets=names("subnetIds"),
    autonamed=True,
    rules=(rules.subnet_group_name("name"), rules.apart("name", "namePrefix")),
)
