"""`python -m lab up|down|status`: a lab that stays, to type the commands of a deployment in."""

from __future__ import annotations

from typing import Annotated

import typer

from lab import place as places
from lab.engine.install import NoEngine
from lab.world import CommandFailed, World, existing

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Option(help="Several labs run side by side under different names.")]


@app.command()
def up(name: Name = "default") -> None:
    """Start a lab and print the line that enters it."""
    try:
        world = World.up(name, lambda text: typer.echo(text, err=True), stays=True)
    except (CommandFailed, NoEngine, ValueError, LookupError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"cd {world.place.project} && . ../env")


@app.command()
def down(name: Name = "default") -> None:
    """End a lab and delete its files."""
    place = places.existing(name)
    if place is None:
        typer.echo(f"lab {name}: there is none", err=True)
        raise typer.Exit(1)
    places.clear(place)


@app.command()
def status(name: Name = "default") -> None:
    """Say whether a lab runs, and where."""
    folder = existing(name)
    typer.echo(f"lab {name}: runs in {folder}" if folder else f"lab {name}: does not run")
    raise typer.Exit(0 if folder else 1)


if __name__ == "__main__":
    app()
