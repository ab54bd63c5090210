"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from _runyard import __version__
from app.cli import (
    architectures,
    catalog,
    change,
    doctor,
    export,
    imports,
    launch,
    manage,
    queue,
    runs,
    serve,
    sweep,
    watch,
)

LOOKING = "Look at runs"
DOING = "Do something with runs"
AROUND = "What there is"
PARTS = "The parts of `runyard up`, each alone"

cli = typer.Typer(
    name="runyard",
    help="Launch, watch and compare training runs of image classifiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (serve.up, launch.command()):
    cli.command()(command)
for command in (runs.ls, runs.show, watch.watch, runs.logs, runs.compare, export.export):
    cli.command(rich_help_panel=LOOKING)(command)
for command in (manage.cancel, change.change, manage.retry, manage.resume, manage.clone, manage.fork):
    cli.command(rich_help_panel=DOING)(command)
cli.command("import", rich_help_panel=DOING)(imports.import_)
cli.add_typer(sweep.sweep, name="sweep", rich_help_panel=DOING)
cli.add_typer(queue.queue, name="queue", rich_help_panel=DOING)
for command in (architectures.architectures, catalog.datasets, catalog.workers, doctor.doctor):
    cli.command(rich_help_panel=AROUND)(command)
for command in (serve.server, serve.recorder, serve.worker):
    cli.command(rich_help_panel=PARTS)(command)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"runyard {__version__}")
        raise typer.Exit


@cli.callback()
def _runyard(
    asked: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Launch, watch and compare training runs of image classifiers."""


def main() -> None:
    """Entry of the `runyard` program."""
    cli()
