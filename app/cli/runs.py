"""`runyard ls`, `show`, `logs` and `compare`: inspect runs."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_run, find_runs, find_sweep, warn
from app.cli.disks import warn_about_disks
from app.cli.output import (
    RIGHT_ALIGNED,
    RUN_COLUMNS,
    AsJson,
    duration,
    local_time,
    print_fields,
    print_json,
    print_table,
    run_row,
    to_text,
)
from app.contract.retention import LABELS

FILTERS = "Filters"


def _filter(completer: Any = None, **arguments: Any) -> Any:
    return typer.Option(metavar="A,B,…", rich_help_panel=FILTERS, autocompletion=completer, **arguments)


Status = Annotated[
    list[str] | None, _filter(help="Only runs with these statuses: queued, running, succeeded, failed, cancelled, …")
]
Family = Annotated[list[str] | None, _filter(completion.families, help="Only these families.")]
Size = Annotated[list[str] | None, _filter(completion.sizes, help="Only these sizes.")]
Dataset = Annotated[list[str] | None, _filter(completion.datasets, help="Only these datasets.")]
Tag = Annotated[list[str] | None, _filter(help="Only runs with all of these tags.")]
Query = Annotated[
    str | None,
    typer.Option(
        "--q",
        "-q",
        metavar="TEXT",
        rich_help_panel=FILTERS,
        help='Query, e.g. "family:vit val/acc>0.98", or text to find in names and notes.',
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column or metric to sort by; prefix it with - for descending order, e.g. -test/acc.",
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Number or id of a run, or the start of its id.", autocompletion=completion.runs
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN…", help="Numbers or ids of runs, or the starts of their ids.", autocompletion=completion.runs
    ),
]
OfSweep = Annotated[
    str | None,
    typer.Option("--sweep", metavar="SWEEP", help="Select all runs of this sweep.", autocompletion=completion.sweeps),
]


def filters(
    status: list[str] | None,
    family: list[str] | None,
    size: list[str] | None,
    dataset: list[str] | None,
    tag: list[str] | None,
    q: str | None,
    sort: str | None,
) -> dict[str, Any]:
    """Return the arguments of Runyard.runs; several values are comma-separated or given by repeated flags."""
    lists = {"status": status, "family": family, "size": size, "dataset": dataset, "tag": tag}
    where: dict[str, Any] = {
        name: [part.strip() for value in values for part in value.split(",") if part.strip()]
        for name, values in lists.items()
        if values
    }
    return where | {name: value for name, value in {"q": q, "sort": sort}.items() if value}


def ls(
    status: Status = None,
    family: Family = None,
    size: Size = None,
    dataset: Dataset = None,
    tag: Tag = None,
    q: Query = None,
    sort: Sort = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Maximum number of runs.")] = 30,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List runs, newest first."""
    with connected(url) as yard:
        listed = [run.data for run in yard.runs(limit=limit, **filters(status, family, size, dataset, tag, q, sort))]
        warn_about_disks(yard)
        if as_json:
            print_json({"runs": listed})
        elif listed:
            print_table(RUN_COLUMNS, map(run_row, listed), right=RIGHT_ALIGNED)
        else:
            print("no runs")


def show(run: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Show the details of a run."""
    with connected(url) as yard:
        target = find_run(yard, run)
        data = target.data
        if as_json:
            print_json(data)
            return
        progress = data["progress"]
        print_fields(
            {
                "run": f"#{target.number} {target.title}",
                "id": target.id,
                "url": target.url,
                "status": target.status,
                "reason": target.reason,
                "epoch": f"{progress['epoch']} of {progress['epochs']}" if progress.get("epochs") else "",
                "parameter count": data["params"],
                "created": local_time(data["created"]),
                "duration": duration(data["seconds"]),
                "device": data["device"],
                "attempt": data["attempt"],
                "tags": target.tags,
                "parent": f"{data['parent']} ({data['relation']})" if data["parent"] else "",
                "sweep": data["sweep"],
                "removed": ", ".join(LABELS[kind] for kind in data.get("removed", {})),
            }
        )
        print()
        settings = target.spec or target.data.get("parameters", {})
        print_fields({name: value for name, value in settings.items() if name not in ("name", "tags", "notes")})
        if target.summary:
            print()
            rows = [
                [name, *(to_text(metric[key]) for key in ("last", "best", "best_step", "points"))]
                for name, metric in target.summary.items()
            ]
            print_table(
                ("metric", "last", "best", "best step", "points"), rows, ("last", "best", "best step", "points")
            )
        if target.data.get("notes"):
            print(f"\n{target.data['notes']}")


def logs(
    run: Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new lines until the run has ended.")
    ] = False,
    tail: Annotated[
        int, typer.Option("--tail", "-n", min=1, max=10_000, help="Number of most recent lines to print.")
    ] = 200,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Print the log of a run; with --json, one object per line."""
    from datetime import datetime

    with connected(url, interrupted="stopped following the log; the run continues") as yard:
        target = find_run(yard, run)
        if removed := target.data.get("removed", {}).get("logs"):
            warn(f"its log was removed on {removed[:10]} to free disk space")
        for line in target.logs(follow, tail):
            if as_json:
                print_json(line._asdict())
            else:
                when = datetime.fromtimestamp(line.time).strftime("%H:%M:%S")
                level = f"{line.level.upper()}: " if line.level.lower() not in ("info", "") else ""
                print(f"{when}  {level}{line.text}")
            sys.stdout.flush()


def compare(
    runs: Names = None,
    sweep: OfSweep = None,
    by: Annotated[
        str,
        typer.Option(
            help="Group by variant (all settings that affect the result, except the seed), none, or comma-separated"
            " settings."
        ),
    ] = "variant",
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Compare runs: means over seeds with 95% intervals."""
    with connected(url) as yard:
        ids = [run.id for run in find_runs(yard, runs or [])] + (find_sweep(yard, sweep).runs if sweep else [])
        if not ids:
            raise ValueError("specify the runs to compare, or use --sweep")
        comparison = yard.compare(ids, by)
        if as_json:
            print_json(
                {
                    "groups": [
                        {
                            "title": group.title,
                            "runs": group.runs,
                            "figures": {name: figure._asdict() for name, figure in group.figures.items()},
                        }
                        for group in comparison.groups
                    ],
                    "sentence": comparison.sentence,
                    "url": comparison.url,
                }
            )
            return
        header, *rows = comparison.table()
        print_table(header, rows, right=header[1:])
        print("".join(f"\n{line}" for line in (comparison.sentence, comparison.url) if line).removeprefix("\n"))
