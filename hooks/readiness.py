"""Readiness: the report in the preview of a flip, and its blockers before the switch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import psycopg
import pulumi

from bluegreen.errors import BlueGreenError
from bluegreen.finding import Finding, Level
from bluegreen.postgres.queries import failure
from bluegreen.switch.declared import DeclaredSwitch
from bluegreen.switch.readiness import report


async def check_readiness(args: pulumi.ResourceHookArgs) -> None:
    """Report whether the writer can be moved; raise, at `up`, when it can't.

    At preview a blocker is only reported: it may be gone by the update, and others may have come.
    If an input is still unknown, this says so and skips the report.
    """
    new, old = args.new_inputs or {}, args.old_inputs or {}
    if not old:
        pulumi.log.info("readiness: checked in full before every switch of this deployment")
        return
    if new.get("writer") == old.get("writer") or not new.get("rollback", True):
        return
    if pulumi.contains_unknowns(new):
        pulumi.log.info("readiness: not all of the switch's inputs are known yet")
        return
    try:
        findings = await asyncio.to_thread(_findings, new)
    except (BlueGreenError, psycopg.Error) as error:
        # The switch checks again, and refuses; a report that fails must not hide the reason.
        said = failure(error) if isinstance(error, psycopg.Error) else str(error)
        pulumi.log.warn(f"readiness: {said}")
        return
    for line in report.render(findings):
        pulumi.log.info(line)
    blockers = [finding for finding in findings if finding.level is Level.BLOCK]
    if blockers and not pulumi.runtime.is_dry_run():
        raise RuntimeError("; ".join(finding.line() for finding in blockers))


def _findings(props: Mapping[str, Any]) -> list[Finding]:
    return report.check(report.Question.of(DeclaredSwitch.model_validate(props)))
