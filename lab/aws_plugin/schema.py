"""The plugin's schema, for `pulumi import`: which properties a type has, and which it must have.

What kind of value each property takes is left open: the official schema has megabytes of that.
"""

from __future__ import annotations

import json
from typing import Any

from lab.aws_plugin.spec import Spec
from lab.aws_plugin.types import SPECS

_ANY = {"$ref": "pulumi.json#/Any"}


def schema(version: str) -> str:
    """Return it as JSON."""
    return json.dumps(
        {
            "name": "aws",
            "version": version,
            # The module of `aws:rds/cluster:Cluster` is `rds`.
            "meta": {"moduleFormat": "(.*)(?:/[^/]*)"},
            "resources": {token: _resource(spec) for token, spec in SPECS.items()},
        }
    )


def _resource(spec: Spec) -> dict[str, Any]:
    inputs = spec.inputs - {"tagsAll"}
    return {
        "inputProperties": dict.fromkeys(sorted(inputs), _ANY),
        "requiredInputs": sorted(spec.required),
        "properties": dict.fromkeys(sorted((inputs | spec.outputs) - {"id"}), _ANY),
    }
