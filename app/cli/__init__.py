"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from app.cli import architectures, launch, processes

cli = typer.Typer(
    name="runyard",
    help="Launch, watch and compare training runs of image classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (processes.up, launch.command(), architectures.architectures):
    cli.command()(command)
for part in (processes.server, processes.recorder, processes.worker):
    cli.command(rich_help_panel="The parts of `runyard up`, each alone")(part)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"runyard {version('runyard')}")
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
