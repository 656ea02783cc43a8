"""The command `bluegreen`: what a deployment is like now, read from stacks and servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer

from bluegreen import __version__
from bluegreen.aws import cluster
from bluegreen.errors import BlueGreenError, Refused
from bluegreen.finding import Level
from bluegreen.postgres.queries import failure
from bluegreen.postgres.server import Server
from bluegreen.register import closing, switch_in_progress
from bluegreen.switch import recover as recovery
from bluegreen.switch.plan import SOURCE, TARGET, SwitchPlan, from_props
from bluegreen.switch.readiness import report
from bluegreen.switch.recover import Verdict

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)

Stack = Annotated[str, typer.Option("--stack", "-s", help="The Pulumi stack.")]
Json = Annotated[bool, typer.Option("--json", help="Answer for programs.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bluegreen {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Blue/green deployments of Aurora PostgreSQL global databases."""
    del version


@app.command()
def status(stack: Stack, as_json: Json = False) -> None:
    """Say what an environment is: its cluster, whether it takes writes, what is under way."""
    with _errors():
        outputs = _outputs(stack)
        server = _server(outputs)
        found = cluster.get(server.region, server.cluster)
        with server.connect("postgres") as conn:
            closed = closing.is_closed(conn, outputs["databases"])
            slots = conn.execute(
                "SELECT slot_name, active, wal_status FROM pg_replication_slots ORDER BY 1"
            ).fetchall()
        answer = {
            "stack": stack,
            "cluster": server.cluster,
            "state": outputs["state"],
            "engine_version": found.engine_version,
            "status": found.status,
            "writer": not closed,
            "switch": switch_in_progress.attempt(server),
            "slots": [
                {"name": name, "active": active, "wal_status": kept} for name, active, kept in slots
            ],
        }
    _show(answer, as_json)


@app.command()
def preflight(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployment's stack.")],
    as_json: Json = False,
) -> None:
    """Say whether the writer could be moved now; exits with 1 when something blocks it.

    The same report as the preview of a flip has: both ask what the deployment's state declares.
    """
    with _errors():
        asked = report.Question.from_props(_flipped(_switchover(stack)))
        findings = report.check(asked)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        typer.echo("\n".join(report.render(findings)))
    blocked = any(finding.level is Level.BLOCK for finding in findings)
    raise typer.Exit(1 if blocked else 0)


@app.command()
def recover(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployment's stack.")],
    apply: Annotated[
        bool, typer.Option("--apply", help="Do what is decided; without it nothing is touched.")
    ] = False,
    new_writer_never_opened: Annotated[
        bool,
        typer.Option(
            help="You vouch that the new writer is lost for good and never took a write: go back."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what becomes of a switch that nobody carries on, and with --apply do it.

    Exits with 0 when exactly one side takes writes, or will by what was decided and done; with 1
    when something is left to do; with 2 on an error.
    """
    with _errors():
        plan = _plan(stack)
        found = recovery.find(plan, vouched=new_writer_never_opened)
        if apply:
            recovery.apply(found)
    decision = found.decision
    if as_json:
        answer = {"verdict": decision.verdict.name.lower(), "applied": apply}
        answer |= {"attempt": found.attempt, "found": decision.found, "because": decision.why}
        typer.echo(json.dumps(answer, indent=2))
    else:
        typer.echo("\n".join(decision.lines()))
    settled = decision.verdict is Verdict.NOTHING or (
        apply and decision.verdict in (Verdict.ABORT, Verdict.FINISH, Verdict.GO_BACK)
    )
    if not settled and not apply and not as_json and decision.verdict is not Verdict.ASK:
        typer.echo("nothing was touched; add --apply to do it")
    raise typer.Exit(0 if settled else 1)


class _errors:  # reads as a statement
    """Turn an error into one line on standard error and exit code 2."""

    def __enter__(self) -> None:
        """Do nothing yet."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Say the line."""
        if isinstance(error, BlueGreenError):
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from None
        if isinstance(error, psycopg.Error):
            typer.echo(failure(error), err=True)
            raise typer.Exit(2) from None


def _outputs(stack: str) -> Mapping[str, Any]:
    """Return a stack's outputs."""
    outputs: Mapping[str, Any] = _pulumi(stack, "stack", "output", "--json")
    if "cluster_identifier" not in outputs:
        raise Refused(f"stack {stack}: has no environment; run pulumi up -s {stack}")
    return outputs


def _plan(stack: str) -> SwitchPlan:
    """Return the switch that a deployment's stack describes, as its state has it."""
    return from_props(_switchover(stack))


def _switchover(stack: str) -> Mapping[str, Any]:
    """Return what a deployment's state has of its switch."""
    exported = _pulumi(stack, "stack", "export")
    for resource in (exported.get("deployment") or {}).get("resources") or []:
        if str(resource.get("type", "")).endswith("/bluegreen:Switchover"):
            found: Mapping[str, Any] = resource["outputs"]
            return found
    raise Refused(
        f"stack {stack}: has no switch; expected the stack of a deployment, which has a source"
    )


def _flipped(props: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the same switch with the writer moved to the side that is closed now."""
    if not props.get("rollback", True):
        raise Refused(
            f"deployment {props['deployment']}: rollback is false, so nothing is moved any more"
        )
    wish = from_props(props)
    with wish.new.connect("postgres") as conn:
        closed = closing.is_closed(conn, wish.databases)
    if closed:
        return props
    return {**props, "writer": SOURCE if props["writer"] == TARGET else TARGET}


def _pulumi(stack: str, *arguments: str) -> Any:
    """Return what the `pulumi` on PATH answers in this directory, as JSON."""
    command = ["pulumi", *arguments, "--stack", stack]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Refused(
            "pulumi: not found on PATH; install it, and run this in the project"
        ) from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise Refused(f"stack {stack}: {said[0].removeprefix('error: ')}")
    return json.loads(done.stdout)


def _server(outputs: Mapping[str, Any]) -> Server:
    return Server.from_props(
        {
            "cluster": outputs["cluster_identifier"],
            "region": outputs["region"],
            "host": outputs["endpoint"],
            "port": outputs["port"],
            "credentials": outputs["credentials"],
        }
    )


def _show(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for key, value in answer.items():
        if key == "slots":
            for slot in value:
                active = "active" if slot["active"] else "inactive"
                typer.echo(f"{'slot':<15} {slot['name']}: {active}, {slot['wal_status']}")
        else:
            typer.echo(f"{key:<15} {value}")


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
