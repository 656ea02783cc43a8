"""Tags of RDS resources, between Pulumi's map and AWS's list."""

from __future__ import annotations

from typing import Any

from lab.aws_plugin.spec import Aws
from lab.aws_plugin.values import Props


def as_list(props: Props) -> list[dict[str, str]]:
    """Return the tags to send."""
    return [
        {"Key": key, "Value": str(value)} for key, value in (props.get("tagsAll") or {}).items()
    ]


def as_map(aws: Aws, listed: list[dict[str, str]], known: Props) -> Props:
    """Return the tags that came back, as both properties: the provider's own are in one only."""
    every = {tag["Key"]: tag["Value"] for tag in listed}
    given = known.get("tags") or {}
    tags = {
        key: value
        for key, value in every.items()
        if key in given or aws.default_tags.get(key) != value
    }
    return {"tags": tags, "tagsAll": every}


def update(rds: Any, arn: str, olds: Props, news: Props) -> None:
    """Bring the tags of `arn` from `olds` to `news`."""
    old, new = olds.get("tagsAll") or {}, news.get("tagsAll") or {}
    gone = sorted(set(old) - set(new))
    if gone:
        rds.remove_tags_from_resource(ResourceName=arn, TagKeys=gone)
    changed = [
        {"Key": key, "Value": str(value)} for key, value in new.items() if old.get(key) != value
    ]
    if changed:
        rds.add_tags_to_resource(ResourceName=arn, Tags=changed)
