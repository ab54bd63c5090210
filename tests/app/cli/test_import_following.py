"""`runyard import --follow`, one look at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.import_following import Follower
from app.contract.histogram import checked_histogram
from app.formats.summary_values import HistogramValue, ImageValue, Scalar, TextValue, Value
from app.formats.tfevents import write_events
from runyard import Run, Runyard, RunyardError
from tests.app.cli.conftest import Command
from tests.app.cli.test_run_imports import BEGAN, points
from tests.app.formats.test_summary_values import PNG

Intercept = Callable[[Callable[[Any, Callable[[], Any]], Any]], None]
NAME = "events.out.tfevents.1700000000.here"


@pytest.fixture
def follower(yard: Runyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follower:
    """Follows a folder that does not exist yet, and looks for new files at every step."""
    monkeypatch.setattr("app.cli.import_following.SCAN_SECONDS", 0.0)
    monkeypatch.setattr("app.cli.import_following.BUSY_SHARE", 0.0)
    return Follower(yard, tmp_path / "logs", "logs", 600.0)


def catch_up(follower: Follower) -> None:
    while follower.step():
        pass


def write(folder: Path, values: list[Value] | list[Scalar], name: str = NAME, began: float = BEGAN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"".join(write_events(values, began)))
    return folder / name


def append(path: Path, values: list[Value] | list[Scalar], until: int | None = None) -> None:
    _, *records = write_events(values, BEGAN)
    with path.open("ab") as file:
        file.write(b"".join(records)[:until])


def loss(run: Run) -> list[float]:
    return [float(value) for value in run.curves()["loss"].value]


def test_new_runs_points_and_files_are_live(follower: Follower, yard: Runyard, tmp_path: Path) -> None:
    catch_up(follower)
    assert list(yard.runs()) == []
    one = write(tmp_path / "logs" / "one", points("loss", [3.0]))
    catch_up(follower)
    (run,) = yard.runs()
    assert (run.title, run.status, run.data["origin"]) == ("one", "running", "tensorboard")
    append(one, points("loss", [2.0, 1.0], 1))
    write(tmp_path / "logs" / "deep" / "two", points("loss", [9.0]), "other.tfevents")
    catch_up(follower)
    runs = {run.title: run for run in yard.runs()}
    assert {title: loss(run) for title, run in runs.items()} == {"one": [3.0, 2.0, 1.0], "deep/two": [9.0]}
    # A resumed training begins a new file.
    write(tmp_path / "logs" / "one", points("loss", [0.5], 3), "events.out.tfevents.1700000100.here")
    catch_up(follower)
    assert loss(runs["one"]) == [3.0, 2.0, 1.0, 0.5]
    follower.finish()
    assert {run.status for run in yard.runs()} == {"succeeded"}


def test_half_a_record_is_waited_for(follower: Follower, yard: Runyard, tmp_path: Path) -> None:
    path = write(tmp_path / "logs", points("loss", [3.0]))
    whole = path.read_bytes()
    append(path, points("loss", [2.0], 1))
    grown = path.read_bytes()
    for size in (len(whole) + 5, len(whole) + 20, len(grown) - 1):
        path.write_bytes(grown[:size])
        catch_up(follower)
        (run,) = yard.runs()
        assert loss(run) == [3.0]
    path.write_bytes(grown)
    catch_up(follower)
    (run,) = yard.runs()
    assert loss(run) == [3.0, 2.0]
    assert "damaged" not in run.data["progress"]


def test_a_file_of_which_only_the_name_is_there_is_waited_for(
    follower: Follower, yard: Runyard, tmp_path: Path
) -> None:
    path = write(tmp_path / "logs", points("loss", [3.0]))
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        catch_up(follower)
    path.write_bytes(whole)
    catch_up(follower)
    (run,) = yard.runs()
    assert loss(run) == [3.0]
    path.write_bytes(whole + whole[:0])
    append(path, points("loss", [1.0], 1))
    other = Follower(yard, tmp_path / "logs", "logs", 600.0)
    catch_up(other)
    (run,) = yard.runs()
    assert loss(run) == [3.0, 1.0]


def test_images_histograms_and_texts_come_too(follower: Follower, yard: Runyard, tmp_path: Path) -> None:
    histogram = checked_histogram([0, 1, 2], [3, 4])
    values: list[Value] = [
        ImageValue("samples", 5, PNG, "png", BEGAN),
        HistogramValue("w", 5, histogram, BEGAN),
        TextValue("t", 5, "an owl", BEGAN),
    ]
    path = write(tmp_path / "logs", values)
    catch_up(follower)
    append(path, values)
    catch_up(follower)
    # A follower that begins anew reads all again.
    other = Follower(yard, tmp_path / "logs", "logs", 600.0)
    catch_up(other)
    (run,) = yard.runs()
    assert run.status == "running"
    assert len(run.files("images")) == 2
    assert yard.ask("GET", f"/runs/{run.id}/histograms/w")["total"] == 2
    assert [each["text"] for each in yard.ask("GET", f"/runs/{run.id}/texts/t")["texts"]] == ["an owl", "an owl"]


def test_two_files_that_grow_at_once_keep_all_points_once(follower: Follower, yard: Runyard, tmp_path: Path) -> None:
    later = write(tmp_path / "logs", points("loss", [10.0]), "events.out.tfevents.1700000000.b")
    catch_up(follower)
    # It comes first in an import of the whole folder.
    first = write(tmp_path / "logs", points("loss", [1.0]), "events.out.tfevents.1700000000.a", BEGAN + 1)
    catch_up(follower)
    append(later, points("loss", [11.0], 1))
    append(first, points("loss", [2.0], 1))
    catch_up(follower)
    append(first, points("loss", [3.0], 2))
    append(later, points("loss", [12.0], 2))
    again = Follower(yard, tmp_path / "logs", "logs", 600.0)
    catch_up(again)
    catch_up(follower)
    (run,) = yard.runs()
    assert sorted(loss(run)) == [1.0, 2.0, 3.0, 10.0, 11.0, 12.0]


def test_a_run_is_found_by_any_of_its_files_when_a_follower_begins_anew(
    follower: Follower, yard: Runyard, tmp_path: Path
) -> None:
    write(tmp_path / "logs", points("loss", [10.0]), "events.out.tfevents.1700000000.b")
    catch_up(follower)
    write(tmp_path / "logs", points("loss", [1.0]), "events.out.tfevents.1700000000.a", BEGAN + 1)
    catch_up(Follower(yard, tmp_path / "logs", "logs", 600.0))
    (run,) = yard.runs()
    assert sorted(loss(run)) == [1.0, 10.0]


def test_a_file_that_was_copied_anew_goes_on_where_it_ended(follower: Follower, yard: Runyard, tmp_path: Path) -> None:
    path = write(tmp_path / "logs", points("loss", [3.0, 2.0]))
    catch_up(follower)
    append(path, points("loss", [1.0], 2))
    content = path.read_bytes()
    path.unlink()
    catch_up(follower)
    path.write_bytes(content)
    catch_up(follower)
    (run,) = yard.runs()
    assert loss(run) == [3.0, 2.0, 1.0]
    # Shorter for a moment, as a copy that has just begun.
    path.write_bytes(content[:70])
    catch_up(follower)
    path.write_bytes(content)
    append(path, points("loss", [0.5], 3))
    catch_up(follower)
    (run,) = yard.runs()
    assert loss(run) == [3.0, 2.0, 1.0, 0.5]


def test_another_file_in_the_place_of_one_is_another_run(follower: Follower, yard: Runyard, tmp_path: Path) -> None:
    write(tmp_path / "logs", points("loss", [3.0, 2.0]))
    catch_up(follower)
    write(tmp_path / "logs", points("loss", [9.0, 8.0, 7.0]), began=BEGAN + 500)
    catch_up(follower)
    new, old = yard.runs()
    assert (loss(old), old.status) == ([3.0, 2.0], "succeeded")
    assert (loss(new), new.status) == ([9.0, 8.0, 7.0], "running")


def test_a_run_that_stops_growing_ends_and_what_comes_later_is_kept(
    yard: Runyard, follower: Follower, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "logs" / "old", points("loss", [3.0]))
    os.utime(path, (time.time() - 700, time.time() - 700))
    fresh = write(tmp_path / "logs" / "fresh", points("loss", [3.0]), began=BEGAN + 1)
    catch_up(follower)
    assert {run.title: run.status for run in yard.runs()} == {"old": "succeeded", "fresh": "running"}
    assert "old  ended with 1 point" in capsys.readouterr().out
    os.utime(fresh, (time.time() - 700, time.time() - 700))
    append(path, points("loss", [2.0], 1))
    catch_up(follower)
    runs = {run.title: run for run in yard.runs()}
    assert loss(runs["old"]) == [3.0, 2.0]


def test_a_server_that_is_away_is_waited_for(
    follower: Follower,
    yard: Runyard,
    tmp_path: Path,
    intercept: Intercept,
    capsys: pytest.CaptureFixture[str],
) -> None:
    away = True

    def interceptor(_call: Any, send: Callable[[], Any]) -> Any:
        # It may have done what it was asked before it went away.
        answer = send()
        if away:
            raise RunyardError("cannot connect to a Runyard server")
        return answer

    values: list[Value] = [*points("loss", [3.0]), ImageValue("a", 1, PNG, "png", BEGAN)]
    path = write(tmp_path / "logs", values)
    intercept(interceptor)
    assert not follower.step()
    assert not follower.step()
    append(path, points("loss", [2.0], 1))
    away = False
    catch_up(follower)
    (run,) = yard.runs()
    assert loss(run) == [3.0, 2.0]
    assert len(run.files("images")) == 1
    words = capsys.readouterr().err
    assert words.count("does not respond; trying again until it does") == 1
    assert words.count("responds again") == 1


def test_a_run_that_is_stopped_is_not_followed_any_further(
    follower: Follower, yard: Runyard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "logs", points("loss", [3.0]))
    catch_up(follower)
    next(iter(yard.runs())).cancel()
    append(path, points("loss", [2.0], 1))
    catch_up(follower)
    append(path, points("loss", [1.0], 2))
    catch_up(follower)
    (run,) = yard.runs()
    assert (loss(run), run.status) == ([3.0], "cancelled")
    assert capsys.readouterr().err.count("is not followed any further: run") == 1
    follower.finish()
    assert next(iter(yard.runs())).status == "cancelled"


def test_what_the_server_refuses_for_good_costs_no_points(
    follower: Follower,
    yard: Runyard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("app.store.step_record.MAX_RECORDS", 1)
    monkeypatch.setattr("app.actions.run_files.MAX_FILES", 1)
    texts = [TextValue("t", step, "x", BEGAN) for step in range(3)]
    images = [ImageValue("a", step, PNG, "png", BEGAN) for step in range(3)]
    values: list[Value] = [*points("loss", [3.0, 2.0]), *texts, *images]
    write(tmp_path / "logs", values)
    catch_up(follower)
    (run,) = yard.runs()
    assert loss(run) == [3.0, 2.0]
    words = capsys.readouterr().err
    assert "histograms and texts are not kept: a run can have at most 1 histograms and texts" in words
    assert words.count("images are not kept: a run can have at most 1 files") == 1


def test_a_file_that_is_none_of_events_is_named_once(
    follower: Follower, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "notes about tfevents.txt").write_text("a text file, not one of events" * 5)
    catch_up(follower)
    catch_up(follower)
    assert capsys.readouterr().err.count("not an event file") == 1


def test_folders_and_options_that_make_no_sense_are_refused(runyard: Command, url: str, tmp_path: Path) -> None:
    assert httpx.get(url).status_code == 200
    (tmp_path / "file").write_text("")
    for words, sentence in (
        ((str(tmp_path / "file"), "--follow"), "is a file; pass its folder"),
        ((str(tmp_path), "--follow", "--json"), "--follow prints no JSON"),
        ((str(tmp_path), "--follow", "--idle", "0"), "--idle"),
    ):
        done = runyard("import", *words)
        assert done.exit_code == 2
        assert sentence in done.output
