"""What leads a process, or a shell, into a lab: its environment."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from lab import dns
from lab import seed as seeds
from lab.place import Place

# What would lead it elsewhere: another account, another backend, another server.
_ASTRAY = r"(PULUMI_|AWS_|PG)[A-Z0-9_]*"
_ASTRAY_TOO = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def variables(place: Place, url: str) -> dict[str, str]:
    """Return what is the lab's own; `url` is where its AWS serves."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_REGION": seeds.REGION,
        "AWS_DEFAULT_REGION": seeds.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "LAB_DNS": place.dns,
        "PULUMI_BACKEND_URL": f"file://{place.state}",
        "PULUMI_CONFIG_PASSPHRASE": "lab",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(place.home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PYTHONPATH": str(dns.SITE),
    }


def of_process(place: Place, url: str) -> dict[str, str]:
    """Return the whole environment of a process in the lab: the caller's, led into it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.fullmatch(_ASTRAY, name) and name not in _ASTRAY_TOO
    }
    path = ":".join([*_folders(place), os.environ.get("PATH", os.defpath)])
    return kept | variables(place, url) | {"PATH": path, "NO_COLOR": "1"}


def shell(place: Place, url: str) -> str:
    """Return the lines that lead a POSIX shell into the lab when it sources them."""
    lines = [
        f"# Leads a shell into the lab {place.name}; end the shell to leave it.",
        f"for name in $(env | sed -nE 's/^({_ASTRAY})=.*/\\1/p'); do unset \"$name\"; done",
        f"unset {' '.join(_ASTRAY_TOO)}",
    ]
    for name, value in sorted(variables(place, url).items()):
        lines.append(f"export {name}={shlex.quote(value)}")
    for folder in reversed(_folders(place)):
        quoted = shlex.quote(folder)
        lines.append(f'case ":$PATH:" in *:{quoted}:*) ;; *) PATH={quoted}:"$PATH" ;; esac')
    lines.append("export PATH")
    return "\n".join(lines) + "\n"


def _folders(place: Place) -> list[str]:
    return [str(place.programs), str(Path(sys.prefix) / "bin")]
