"""`runyard dataset`: import images as a dataset, list, show, delete and restore datasets."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from app.cli.catalog import datasets
from app.cli.client import Url, connected, warn
from app.cli.output import AsJson, print_json, print_table
from app.contract.dataset_import import SIDES
from app.contract.errors import printable

if TYPE_CHECKING:
    from runyard import DatasetImport, Runyard

POLL_SECONDS = 0.3
BAR_WIDTH = 24
SHOWN_GROUPS = 10
"""Groups of duplicates that `show` prints, and files of each."""
SHOWN_FILES = 4

dataset = typer.Typer(name="dataset", help="Import your own images, and manage datasets.", no_args_is_help=True)
dataset.command("ls")(datasets)

Name = Annotated[str, typer.Argument(help="Name of the dataset.")]
NameOrVersion = Annotated[str, typer.Argument(help="Name of the dataset; NAME@VERSION: this version.")]


@dataset.command()
def add(
    path: Annotated[
        str,
        typer.Argument(help="Folder, .zip, .tar(.gz), .npz, .csv or .parquet with images; it is uploaded."),
    ],
    name: Annotated[str, typer.Option(help="Name of the dataset.")],
    side: Annotated[
        int | None,
        typer.Option(
            help=f"Side of the images in pixels: {', '.join(map(str, SIDES))}"
            " (default: chosen from the size of the images)."
        ),
    ] = None,
    color: Annotated[str | None, typer.Option(help="rgb or gray (default: gray if all images are).")] = None,
    fit: Annotated[str, typer.Option(help="How an image becomes a square: crop, squash or pad.")] = "crop",
    validation: Annotated[float, typer.Option(help="Share for validation, where the source has no such split.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share for testing, where the source has no such split.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Random seed of the split.")] = 0,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Rename a class. Give several classes the same new name to merge them; OLD= skips a class."
            " Can be repeated.",
        ),
    ] = None,
    on_server: Annotated[
        bool, typer.Option("--on-server", help="PATH is on the server's machine, in a folder of RUNYARD_IMPORT_PATHS.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Stop at a preview; review and confirm it in the browser.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the dataset is ready.")] = True,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Import images as a dataset: one folder per class, also within train, val and test folders; or a table."""
    with connected(url, interrupted="interrupted; the import continues, see `runyard dataset show`") as yard:
        options: dict[str, Any] = {"fit": fit, "validation_share": validation, "test_share": test, "seed": seed}
        options |= {} if side is None else {"side": side}
        options |= {} if color is None else {"color": color}
        options["classes"] = dict(_pair(each) for each in rename or [])
        started = yard.add_dataset(name, path, keep=not preview, on_server=on_server, **options)
        if not on_server and (links := _links_out(Path(path).expanduser())):
            named = ", ".join([*links[:SHOWN_FILES], *(["…"] if len(links) > SHOWN_FILES else [])])
            warn(f"not uploaded, because {'it leads' if len(links) == 1 else 'they lead'} out of the folder: {named}")
        if not wait:
            print_json(started.data) if as_json else print(started.url)
            return
        _follow(started)
        started.wait()
        shown = yard.dataset(name) if started.status == "ready" else started.data
        if as_json:
            print_json(shown)
        elif started.status == "preview":
            print(f"Choose what to keep: {started.url}")
        else:
            _print_details(yard, shown)


def _links_out(folder: Path) -> list[str]:
    """Links that lead out of a folder, which the client leaves out."""
    inside = folder.resolve()
    links = sorted(each for each in folder.rglob("*") if each.is_symlink())
    return [printable(str(each.relative_to(folder))) for each in links if not each.resolve().is_relative_to(inside)]


def _pair(given: str) -> tuple[str, str]:
    old, sign, new = given.partition("=")
    if not sign or not old:
        raise ValueError(f"--rename needs OLD=NEW, not '{given}'")
    return old, new


def _follow(started: DatasetImport) -> None:
    """Show the progress of an import in a terminal until it needs nothing more from this machine."""
    shown = ""
    while sys.stderr.isatty() and started.refresh().status in ("waiting", "reading", "keeping"):
        line = started.task or "waiting for a worker"
        if started.total:
            done = int(BAR_WIDTH * started.done / started.total)
            bar = "█" * done + "·" * (BAR_WIDTH - done)
            line = f"{bar} {line}, {started.done:,} of {started.total:,}"
        print(f"\r{line.ljust(len(shown))}", end="", file=sys.stderr, flush=True)
        shown = line
        time.sleep(POLL_SECONDS)
    if shown:
        print(f"\r{' ' * len(shown)}\r", end="", file=sys.stderr, flush=True)


@dataset.command()
def show(name: NameOrVersion, as_json: AsJson = False, url: Url = None) -> None:
    """Show a dataset: its classes, duplicates, other import findings, and its versions."""
    with connected(url) as yard:
        shown = yard.dataset(name)
        if as_json:
            print_json(shown)
        else:
            _print_details(yard, shown)


def _print_details(yard: Runyard, shown: dict[str, Any]) -> None:
    found, report = shown["dataset"], shown["report"]
    if found is None:
        print(f"{shown['name']} is not ready: {shown['reason'] or shown['status']}")
        return
    kind = "color" if found["channels"] == 3 else "gray"
    version = f", version {found['version']}" if found["own"] else ""
    print(f"{found['name']}: {found['side']} × {found['side']} {kind}{version}  {yard.url}{shown['url']}")
    if report is None:
        splits = ", ".join(f"{found[part]:,} {part}" for part in ("train", "validation", "test"))
        print(f"{len(found['targets'][0]['labels'])} classes, {splits}")
        return
    rows = [
        [each["name"], *(f"{each[part]:,}" for part in ("train", "validation", "test"))] for each in report["classes"]
    ]
    print_table(("class", "training", "validation", "test"), rows, right=("training", "validation", "test"))
    for note in _notes(report):
        print(note)
    if shown["versions"]:
        print()
        print_table(
            ("version", "imported", "image", "classes", "images", "on disk", ""),
            [_version_row(each, i == 0) for i, each in enumerate(shown["versions"])],
            right=("classes", "images", "on disk"),
        )


def _notes(report: dict[str, Any]) -> list[str]:
    notes = [f"Leak: {leak}." for leak in report["leaks"]]
    notes += [f"{note[:1].upper()}{note[1:]}." for note in report["notes"]]
    across, within = report["duplicates_across"], report["duplicates_within"]
    if across or within:
        notes.append(f"Exact duplicates: {within:,} within a split, {across:,} across splits.")
        groups = report["duplicates"]
        notes += [_group_line(group) for group in groups[:SHOWN_GROUPS]]
        if len(groups) > SHOWN_GROUPS:
            notes.append("  … (--json lists up to 50 groups)")
    else:
        notes.append("No exact duplicates.")
    if report["skipped_kinds"]:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in report["skipped_kinds"].items())
        notes.append(f"Files skipped: {counts}.")
    return notes


def _group_line(group: dict[str, Any]) -> str:
    """The files of a group of duplicates, with their splits if it is a leak and their classes if these differ."""
    files = []
    for image in group["images"][:SHOWN_FILES]:
        facts = [image["part"]] * group["across"] + [image["label"]] * group["labels_differ"]
        files.append(f"{image['path']} ({', '.join(facts)})" if facts else image["path"])
    more = group["count"] - len(files)
    return f"  {' = '.join(files)}{f' and {more:,} more' if more else ''}"


def _version_row(version: dict[str, Any], in_use: bool) -> list[str]:
    kind = "color" if version["channels"] == 3 else "gray"
    return [
        version["version"],
        f"{datetime.fromtimestamp(version['created_at']):%Y-%m-%d %H:%M}",
        f"{version['side']} × {version['side']} {kind}, {version['choices']['fit']}",
        f"{len(version['classes']):,}",
        f"{sum(version['images'].values()):,}",
        f"{version['bytes'] / 1e6:,.1f} MB",
        "in use" if in_use else "",
    ]


@dataset.command()
def rm(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Delete a dataset with all its versions; `runyard dataset restore` brings it back."""
    with connected(url) as yard:
        versions = [each["version"] for each in yard.dataset(name.partition("@")[0])["versions"]]
        yard.ask("DELETE", f"/datasets/{quote(name, safe='')}")
        if as_json:
            print_json({"deleted": name, "versions": versions})
        else:
            number = "1 version" if len(versions) == 1 else f"{len(versions)} versions"
            print(f"{name} deleted, with {number}; `runyard dataset restore {name}` restores it")


@dataset.command()
def restore(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Restore the dataset with this name that was deleted last."""
    with connected(url) as yard:
        restored = yard.ask("POST", f"/datasets/{quote(name, safe='')}/restore")
        if as_json:
            print_json(restored)
        else:
            print(f"{name} restored")
