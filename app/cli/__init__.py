"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from _runyard import __version__
from app.cli import (
    acts,
    architectures,
    catalogue,
    changes,
    doctor,
    export,
    imports,
    launch,
    processes,
    queue,
    runs,
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
for command in (processes.up, launch.command()):
    cli.command()(command)
for command in (runs.ls, runs.show, watch.watch, runs.logs, runs.compare, export.export):
    cli.command(rich_help_panel=LOOKING)(command)
for command in (acts.cancel, changes.change, acts.retry, acts.resume, acts.clone, acts.fork):
    cli.command(rich_help_panel=DOING)(command)
cli.command("import", rich_help_panel=DOING)(imports.import_)
cli.add_typer(sweep.sweep, name="sweep", rich_help_panel=DOING)
cli.add_typer(queue.queue, name="queue", rich_help_panel=DOING)
for command in (architectures.architectures, catalogue.datasets, catalogue.workers, doctor.doctor):
    cli.command(rich_help_panel=AROUND)(command)
for command in (processes.server, processes.recorder, processes.worker):
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
