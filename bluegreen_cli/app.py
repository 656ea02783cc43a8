"""The command `bluegreen`: the current state of a deployment, from stacks and servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer

from bluegreen import __version__, stack_outputs
from bluegreen.errors import BlueGreenError, Refused
from bluegreen.finding import Level
from bluegreen.postgres import slots
from bluegreen.postgres.queries import failure
from bluegreen.register import closing, switch_in_progress, writer
from bluegreen.stack_outputs import StackOutputs
from bluegreen.switch import recovery, traffic
from bluegreen.switch.declared import DeclaredSwitch
from bluegreen.switch.readiness import report
from bluegreen.switch.recovery import Verdict
from bluegreen_cli.probe import probe

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)

Stack = Annotated[str, typer.Option("--stack", "-s", help="The Pulumi stack.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _show_version(asked: bool) -> None:
    if asked:
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
    """Show an environment: its cluster, whether it takes writes, what is under way."""
    with _errors():
        outputs = _outputs(stack)
        server = outputs.server
        found = server.get_cluster()
        with server.connect("postgres") as conn:
            closed = closing.is_closed(conn, outputs.databases)
            kept = slots.inspect_all(conn)
        answer = {
            "stack": stack,
            "cluster": server.cluster,
            "state": outputs.state,
            "engine_version": found.engine_version,
            "status": found.status,
            "writer": not closed,
            "switch": switch_in_progress.attempt(server),
            "slots": [
                {
                    "name": one.name,
                    "active": one.active_pid is not None,
                    "status": str(slots.status(one)),
                    "retained_bytes": one.retained_bytes,
                }
                for one in kept
            ],
        }
    _show(answer, as_json)


@app.command()
def preflight(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployment's stack.")],
    as_json: Json = False,
) -> None:
    """Report whether the writer could be moved now; exits with 1 when something blocks it.

    The report is that of a flip's preview: both use what the deployment declares.
    """
    with _errors():
        asked = report.Question.of(_flipped(_declared(stack)))
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
        bool, typer.Option("--apply", help="Do what is decided; without this nothing is touched.")
    ] = False,
    new_writer_never_opened: Annotated[
        bool,
        typer.Option(
            help="You vouch that the new writer is lost for good and never took a write: go back."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how an interrupted switch would be resolved; --apply resolves it.

    Exits with 0 when exactly one side takes writes, or will once what was decided is done; with 1
    when something is left to do; with 2 on an error.
    """
    with _errors():
        plan = _declared(stack).plan()
        found = recovery.find(plan, vouched=new_writer_never_opened)
        done = recovery.apply(found) if apply else None
    decision = found.decision
    if as_json:
        answer = {"verdict": decision.verdict.name.lower(), "applied": apply}
        answer |= {"attempt": found.attempt, "found": decision.found, "because": decision.why}
        typer.echo(json.dumps(answer, indent=2))
    else:
        typer.echo("\n".join(decision.lines()))
        if done is not None and done.moved is not None:
            typer.echo(traffic.until_in_sync(done.moved, found.plan).line())
    settled = decision.verdict is Verdict.NOTHING or (
        apply and decision.verdict in (Verdict.ABORT, Verdict.FINISH, Verdict.GO_BACK)
    )
    if not settled and not apply and not as_json and decision.verdict is not Verdict.ASK:
        typer.echo("nothing was touched; add --apply to do it")
    raise typer.Exit(0 if settled else 1)


app.command()(probe)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn an error into one line on standard error and exit code 2."""
    try:
        yield
    except BlueGreenError as error:
        line = str(error)
    except psycopg.Error as error:
        line = failure(error)
    else:
        return
    typer.echo(line, err=True)
    raise typer.Exit(2)


def _outputs(stack: str) -> StackOutputs:
    """Return a stack's outputs."""
    found: Mapping[str, Any] = _pulumi(stack, "stack", "output", "--json")
    return stack_outputs.parse(stack, found)


def _declared(stack: str) -> DeclaredSwitch:
    """Return the switch that a deployment's stack declares."""
    declared = _outputs(stack).switch
    if declared is None:
        raise Refused(
            f"stack {stack!r}: declares no switch; expected the stack of a deployment that is "
            "replicated from a source; after an update of this tool run pulumi up on it first"
        )
    return declared


def _flipped(declared: DeclaredSwitch) -> DeclaredSwitch:
    """Return the same switch with the writer moved to the side that is closed now."""
    if not declared.rollback:
        raise Refused(
            f"deployment {declared.deployment}: rollback is false, so nothing is moved any more"
        )
    plan = declared.plan()
    return declared if writer.is_closed(plan.new, plan.databases) else declared.flipped()


def _pulumi(stack: str, *arguments: str) -> Any:
    """Return the JSON that the `pulumi` on PATH prints in this directory.

    The Automation API would ask for outputs with their secrets decrypted, so it would need the
    stack's passphrase or key; there is no secret among ours.
    """
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


def _show(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for key, value in answer.items():
        if key == "slots":
            for slot in value:
                active = "active" if slot["active"] else "inactive"
                typer.echo(f"{'slot':<15} {slot['name']}: {active}, {slot['status']}")
        else:
            typer.echo(f"{key:<15} {value}")


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
