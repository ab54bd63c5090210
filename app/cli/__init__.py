"""The `runyard` command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from _runyard import __version__
from app.cli import (
    architectures,
    backup,
    catalog,
    change,
    dataset,
    doctor,
    evaluate,
    execute,
    export,
    export_model,
    files,
    join,
    launch,
    manage,
    move_database,
    people,
    predict,
    program,
    prune,
    queue,
    run_imports,
    runs,
    serve,
    sign_in,
    suggestion,
    sweep,
    sync,
    watch,
)

INSPECT = "Inspect runs"
MANAGE = "Manage runs"
CATALOG = "Catalog and system"
PEOPLE = "People"
MACHINES = "Other machines"
COMPONENTS = "Components of `runyard up`"

cli = typer.Typer(
    name="runyard",
    cls=suggestion.Group,
    help="Launch, watch and compare training runs of image classifiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (serve.up, launch.command()):
    cli.command()(command)
cli.command("exec", context_settings={"allow_interspersed_args": False})(execute.execute)
for command in (runs.ls, runs.show, watch.watch, runs.logs, runs.compare, export.export, files.files, predict.predict):
    cli.command(rich_help_panel=INSPECT)(command)
for command in (evaluate.evaluate, evaluate.robustness):
    cli.command(rich_help_panel=INSPECT)(command)
cli.command("export-model", rich_help_panel=INSPECT)(export_model.export_model)
for command in (manage.cancel, change.change, manage.retry, manage.resume, manage.clone, manage.fork, manage.rm):
    cli.command(rich_help_panel=MANAGE)(command)
cli.command("import", rich_help_panel=MANAGE)(run_imports.import_)
cli.command(rich_help_panel=MANAGE)(sync.sync)
cli.add_typer(sweep.sweep, name="sweep", rich_help_panel=MANAGE)
cli.add_typer(program.program, name="program", rich_help_panel=MANAGE)
cli.add_typer(queue.queue, name="queue", rich_help_panel=MANAGE)
cli.add_typer(predict.alias, name="alias", rich_help_panel=MANAGE)
cli.add_typer(dataset.dataset, name="dataset", rich_help_panel=CATALOG)
for command in (architectures.architectures, catalog.datasets, catalog.presets, catalog.workers, doctor.doctor):
    cli.command(rich_help_panel=CATALOG)(command)
for command in (backup.backup, backup.restore, prune.prune):
    cli.command(rich_help_panel=CATALOG)(command)
for command in (sign_in.login, sign_in.logout, sign_in.whoami, people.audit):
    cli.command(rich_help_panel=PEOPLE)(command)
cli.add_typer(people.user, name="user", rich_help_panel=PEOPLE)
cli.add_typer(people.token, name="token", rich_help_panel=PEOPLE)
cli.command(rich_help_panel=MACHINES)(join.join)
cli.add_typer(join.worker_token, name="worker-token", rich_help_panel=MACHINES)
for command in (serve.server, serve.recorder, serve.worker):
    cli.command(rich_help_panel=COMPONENTS)(command)
cli.command("move-database", rich_help_panel=COMPONENTS)(move_database.move_database)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"runyard {__version__}")
        raise typer.Exit


@cli.callback()
def _runyard(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Launch, watch and compare training runs of image classifiers."""


def main() -> None:
    """Run the `runyard` program; a fault of the machine is one sentence and exit status 1."""
    try:
        cli()
    except Exception as error:  # what `explain` does not know is raised again
        from app.contract.settings import Settings
        from app.contract.start_faults import explain

        sentence = explain(error, Settings())
        if sentence is None:
            raise
        print(f"runyard: {sentence}", file=sys.stderr)
        sys.exit(1)
