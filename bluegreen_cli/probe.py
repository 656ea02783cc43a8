"""`bluegreen probe`: what the program needs of a server and of AWS, tried on a real one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated

import psycopg
import typer

from bluegreen import __version__
from bluegreen.errors import BlueGreenError, Refused
from bluegreen.postgres import connection
from bluegreen.probe import reach, report
from bluegreen.probe.reach import Reached
from bluegreen.probe.row import Outcome
from bluegreen.probe.run import Probe
from bluegreen.probe.scrub import Scrubber

_INTERRUPTED = 130


@dataclass(slots=True)
class _Found:
    """What a run has found until its end, whatever ended it."""

    scrub: Scrubber = field(default_factory=Scrubber)
    about: dict[str, str] = field(default_factory=lambda: {"bluegreen": __version__})
    probe: Probe | None = None
    error: str | None = None
    interrupted: bool = False

    @property
    def code(self) -> int:
        """Return the exit code."""
        if self.interrupted:
            return _INTERRUPTED
        if self.error is not None or self.probe is None:
            return 2
        bad = (Outcome.REFUSED, Outcome.DIFFERS)
        return int(bool(self.probe.left) or any(one.outcome in bad for one in self.probe.results))


def probe(
    cluster: Annotated[str | None, typer.Option(help="An Aurora cluster's identifier.")] = None,
    region: Annotated[str | None, typer.Option(help="Its Region.")] = None,
    reader: Annotated[bool, typer.Option("--reader", help="Ask a reader of it.")] = False,
    admin_secret_arn: Annotated[
        str | None, typer.Option(help="A secret with username and password; RDS's own without it.")
    ] = None,
    dsn: Annotated[
        str | None, typer.Option(help="A connection string of libpq in place of a cluster.")
    ] = None,
    database: Annotated[str | None, typer.Option(help="The database to connect to.")] = None,
    zone: Annotated[str | None, typer.Option(help="A hosted zone of Route 53.")] = None,
    tls: Annotated[
        str | None, typer.Option(help="sslmode; verify-full with --ca-file, require without.")
    ] = None,
    ca_file: Annotated[str | None, typer.Option(help="The bundle of RDS's authorities.")] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="Also make and drop a publication, a slot, a subscription, a role, a database.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer for programs.")] = False,
) -> None:
    """Try on a real server, and on AWS, everything that this program needs of them.

    Reads, or rolls back; --write makes objects named bluegreen_probe_... and removes them. The
    table names nothing of yours. Exits with 0 when all that was tried works, with 1 when something
    is refused, differs or was left behind, with 2 on an error.
    """
    found = _Found()

    def reached() -> Reached:
        if (cluster is None) == (dsn is None):
            raise Refused("give either --cluster or --dsn")
        if dsn is not None:
            return reach.by_dsn(dsn, database, found.scrub)
        assert cluster is not None
        return reach.by_cluster(
            cluster,
            found.scrub,
            region=region,
            secret_arn=admin_secret_arn,
            database=database,
            reader=reader,
            tls=tls or ("require" if ca_file is None else "verify-full"),
            ca_file=ca_file,
            zone_id=zone,
        )

    try:
        _run(found, reached(), write=write, reader=reader)
    except KeyboardInterrupt:
        found.interrupted = True
    except BlueGreenError as error:
        found.error = found.scrub(str(error))
    except psycopg.Error as error:
        found.error = found.scrub(f"can't go on: {connection.said(error)}")
    _show(found, as_json)
    raise typer.Exit(found.code)


def _run(found: _Found, where: Reached, *, write: bool, reader: bool) -> None:
    with where.connect() as conn:
        found.scrub.learn_from(conn)
        found.about |= report.facts(conn, __version__)
    found.about["writes"] = "made and removed" if write else "none"
    found.probe = Probe(where.connect, found.scrub, write=write, reader=reader)
    found.probe.sql()
    if where.place is not None:
        found.probe.aws(where.place)


def _show(found: _Found, as_json: bool) -> None:
    results = found.probe.results if found.probe is not None else []
    left = found.probe.left if found.probe is not None else []
    if results or left:
        if as_json:
            typer.echo(json.dumps(report.to_json(found.about, results, left), indent=2))
        else:
            typer.echo("\n".join(report.to_markdown(found.about, results, left)))
    if found.error is not None:
        typer.echo(found.error, err=True)
    if found.interrupted:
        typer.echo("interrupted; what was made is removed or named", err=True)
