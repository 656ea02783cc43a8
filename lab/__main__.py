"""`python -m lab up|load|down|env|status`: a lab that stays, to type a deployment's commands in."""

from __future__ import annotations

import shlex
import signal
import sys
from typing import Annotated

import typer

from lab import interrupts, leftovers, load
from lab import place as places
from lab.engine.install import NoEngine
from lab.place import Place
from lab.world import CommandFailed, World

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Option(help="Several labs run side by side under different names.")]


@app.command()
def up(name: Name = "default") -> None:
    """Start a lab and print the line that enters it."""
    # As Ctrl-C does: what was begun is ended, and the exit code says by what.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        World.up(name, _say, ready=_ready)
    except (CommandFailed, NoEngine, ValueError, LookupError) as error:
        raise _refused(str(error)) from None
    except KeyboardInterrupt:
        _say(f"lab {name}: interrupted; what was started is ended")
        raise typer.Exit(130) from None


def _ready(place: Place) -> None:
    interrupts.ignore()  # it stays: nothing is left to interrupt
    typer.echo(f"cd {shlex.quote(str(place.project))} && . ../env")


@app.command(name="load")
def put_load(name: Name = "default") -> None:
    """Seed a lab that stays, put clients on its writer, and check at the end what they wrote."""
    place = _running(name)
    try:
        good = load.run(place, _say)
    except load.NoWriter as error:
        raise _refused(str(error)) from None
    raise typer.Exit(0 if good else 1)


@app.command()
def down(name: Name = "default") -> None:
    """End a lab and delete its files."""
    with places.locked():
        leftovers.clear(_place(name))


@app.command()
def env(name: Name = "default") -> None:
    """Print what leads a shell into a lab: eval "$(python -m lab env)"."""
    place = _running(name)
    typer.echo((place.folder / "env").read_text(), nl=False)


@app.command()
def status(name: Name = "default") -> None:
    """Say whether a lab runs, and where; exits with 1 when it does not."""
    place = _place(name)
    if not leftovers.running(place):
        raise _refused(
            f"lab {name}: did not end well; `python -m lab down --name {name}` cleans it up"
        )
    typer.echo(f"lab {name}: runs in {place.folder}, servers on {place.block}.x, port {place.port}")


def _place(name: str) -> Place:
    try:
        place = places.existing(name)
    except ValueError as error:
        raise _refused(str(error)) from None
    if place is None:
        raise _refused(f"lab {name}: there is none; `python -m lab up --name {name}` starts one")
    return place


def _running(name: str) -> Place:
    place = _place(name)
    if not leftovers.running(place):
        raise _refused(f"lab {name}: does not run; start it by `python -m lab up --name {name}`")
    return place


def _refused(text: str) -> typer.Exit:
    _say(text)
    return typer.Exit(1)


def _say(text: str) -> None:
    typer.echo(text, err=True)


if __name__ == "__main__":
    app()
