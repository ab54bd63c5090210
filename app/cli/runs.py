"""`runyard ls`, `show`, `logs` and `compare`: what there is to know about runs."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, find_run, find_runs, find_sweep, told
from app.cli.output import (
    RUN_COLUMNS,
    RUN_FIGURES,
    AsJson,
    moment,
    print_facts,
    print_json,
    print_table,
    run_row,
    span,
    words,
)

FILTERS = "Which runs"


def _filter(offered: Any = None, **said: Any) -> Any:
    return typer.Option(metavar="A,B,…", rich_help_panel=FILTERS, autocompletion=offered, **said)


Status = Annotated[list[str] | None, _filter(help="queued, running, succeeded, failed, cancelled, …")]
Family = Annotated[list[str] | None, _filter(completion.families, help="Families.")]
Size = Annotated[list[str] | None, _filter(completion.sizes, help="Sizes.")]
Dataset = Annotated[list[str] | None, _filter(completion.datasets, help="Datasets.")]
Tag = Annotated[list[str] | None, _filter(help="Tags; all of them.")]
Words = Annotated[
    str | None,
    typer.Option("--q", "-q", metavar="TEXT", rich_help_panel=FILTERS, help="Looked for in names and notes."),
]
Sort = Annotated[str | None, typer.Option(metavar="COLUMN", help="A column or a metric; -test/acc: the largest first.")]
Name = Annotated[str, typer.Argument(metavar="RUN", help="A run by number or id.", autocompletion=completion.runs)]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="RUN…", help="Runs by number or id.", autocompletion=completion.runs)
]
OfSweep = Annotated[
    str | None, typer.Option("--sweep", metavar="SWEEP", help="All of a sweep.", autocompletion=completion.sweeps)
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
    """What Runyard.runs is asked for; several values by comma or by repeating the flag."""
    several = {"status": status, "family": family, "size": size, "dataset": dataset, "tag": tag}
    where: dict[str, Any] = {
        name: [part.strip() for value in values for part in value.split(",") if part.strip()]
        for name, values in several.items()
        if values
    }
    return where | {name: value for name, value in {"q": q, "sort": sort}.items() if value}


def ls(
    status: Status = None,
    family: Family = None,
    size: Size = None,
    dataset: Dataset = None,
    tag: Tag = None,
    q: Words = None,
    sort: Sort = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="So many at most.")] = 30,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List runs, the newest first."""
    with told(url) as yard:
        found = [run.data for run in yard.runs(limit=limit, **filters(status, family, size, dataset, tag, q, sort))]
        if as_json:
            print_json({"runs": found})
        elif found:
            print_table(RUN_COLUMNS, map(run_row, found), right=RUN_FIGURES)
        else:
            print("no runs")


def show(run: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Say all about a run."""
    with told(url) as yard:
        found = find_run(yard, run)
        data = found.data
        if as_json:
            print_json(data)
            return
        progress = data["progress"]
        print_facts(
            {
                "run": f"#{found.number} {found.title}",
                "id": found.id,
                "page": found.url,
                "status": found.status,
                "reason": found.reason,
                "epoch": f"{progress['epoch']} of {progress['epochs']}" if progress.get("epochs") else "",
                "parameters": data["params"],
                "created": moment(data["created"]),
                "took": span(data["seconds"]),
                "device": data["device"],
                "attempt": data["attempt"],
                "tags": found.tags,
                "from": f"{data['relation']} of {data['parent']}" if data["parent"] else "",
                "sweep": data["sweep"],
            }
        )
        print()
        said = found.spec or found.data.get("parameters", {})
        print_facts({name: value for name, value in said.items() if name not in ("name", "tags", "notes")})
        if found.summary:
            print()
            rows = [
                [name, *(words(each[key]) for key in ("last", "best")), words(each["best_step"]), words(each["points"])]
                for name, each in found.summary.items()
            ]
            print_table(("metric", "last", "best", "at step", "points"), rows, ("last", "best", "at step", "points"))
        if found.data.get("notes"):
            print(f"\n{found.data['notes']}")


def logs(
    run: Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="And what is still to come, until it has ended.")
    ] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, max=10_000, help="The last lines.")] = 200,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Print the log of a run; with --json an object a line."""
    from datetime import datetime

    with told(url, interrupted="not following any longer; the run goes on") as yard:
        for line in find_run(yard, run).logs(follow, tail):
            if as_json:
                print_json(line._asdict())
            else:
                when = datetime.fromtimestamp(line.time).strftime("%H:%M:%S")
                mark = f"{line.level.upper()}: " if line.level.lower() not in ("info", "") else ""
                print(f"{when}  {mark}{line.text}")
            sys.stdout.flush()


def compare(
    runs: Names = None,
    sweep: OfSweep = None,
    by: Annotated[str, typer.Option(help="variant: all but the seed; none; or settings by comma.")] = "variant",
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Put runs side by side: means over the seeds of what is otherwise alike, with 95 % intervals."""
    with told(url) as yard:
        ids = [run.id for run in find_runs(yard, runs or [])] + (find_sweep(yard, sweep).runs if sweep else [])
        if not ids:
            raise ValueError("name the runs to compare, or a sweep with --sweep")
        found = yard.compare(ids, by)
        if as_json:
            print_json(
                {
                    "groups": [
                        {
                            "title": group.title,
                            "runs": group.runs,
                            "figures": {name: figure._asdict() for name, figure in group.figures.items()},
                        }
                        for group in found.groups
                    ],
                    "sentence": found.sentence,
                    "url": found.url,
                }
            )
            return
        header, *rows = found.table()
        print_table(header, rows, right=header[1:])
        print("".join(f"\n{each}" for each in (found.sentence, found.url) if each).removeprefix("\n"))
