"""DNS for the lab: the Route 53 zones and the clusters' endpoints, on a loopback port."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

SITE = Path(__file__).with_name("site")
"""The folder to put on PYTHONPATH, so that a Python process asks the lab's DNS."""


def use(where: str) -> None:
    """Let this very process, and what it starts, ask the DNS at `where`, an IP:PORT."""
    os.environ["LAB_DNS"] = where
    os.environ["PYTHONPATH"] = str(SITE)
    spec = importlib.util.spec_from_file_location("lab_dns_site", SITE / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
