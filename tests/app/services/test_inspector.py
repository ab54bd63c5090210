"""Results about networks are computed once, cached while valid, and never computed in the server's process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.contract.catalog import Catalog
from app.contract.errors import Unavailable
from app.contract.spec import RunConfig, RunSpec, SpecError, resolve
from app.services import answering_process
from app.services import inspector as inspector_module
from app.services.inspector import Inspector
from tests.conftest import config, run_apart, until

EMPTY = Catalog(families={})

STANDS_IN = """
import json, os, sys, time
folder, rest = {folder!r}, sys.argv[4:]
with open(os.path.join(folder, "starts"), "a") as starts:
    starts.write(json.dumps([os.getpid(), *rest]) + chr(10))
for line in sys.stdin:
    with open(os.path.join(folder, "asked"), "a") as asked:
        asked.write(line)
    how = open(os.path.join(folder, "how")).read()
    if how == "die" or how == "die with a folder" and rest:
        print("no torch here", file=sys.stderr, flush=True)
        os._exit(1)
    if how == "hang":
        sys.stdin.read()
    print(how if how.startswith("{{") else json.dumps({{"catalog": {{"families": {{}}}}}}), flush=True)
"""


class StandIn:
    """A stand-in for the inspection process, which counts its starts and behaves as configured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.does("answer")

    def does(self, how: str) -> None:
        (self.folder / "how").write_text(how)

    @property
    def starts(self) -> list[list[Any]]:
        return self._lines("starts")

    @property
    def asked(self) -> list[dict[str, Any]]:
        return self._lines("asked")

    def _lines(self, name: str) -> list[Any]:
        file = self.folder / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """Started in the place of the real process, with the same arguments."""
    program = tmp_path / "program"
    # Not the interpreter's path behind #!, which ends at the first space and after 127 bytes.
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S {shlex.quote(str(tmp_path))}/stand_in.py "$@"\n'
    )
    (tmp_path / "stand_in.py").write_text(STANDS_IN.format(folder=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    # Files are checked at every question.
    monkeypatch.setattr(inspector_module, "LOOK_SECONDS", 0.0)
    return StandIn(tmp_path)


@pytest.fixture
def made() -> Iterator[Callable[..., Inspector]]:
    """Creates inspectors, and ends their processes."""
    all_of_them: list[Inspector] = []

    def make(*given: Any) -> Inspector:
        all_of_them.append(Inspector(*given))
        return all_of_them[-1]

    yield make
    for each in all_of_them:
        run_apart(each.close())


# The catalog -------------------------------------------------------------------------------------------------------


def test_a_catalog_that_is_kept_is_used(
    tmp_path: Path, stand_in: StandIn, catalog: Catalog, catalog_json: bytes, made: Callable[..., Inspector]
) -> None:
    (tmp_path / "catalog.json").write_bytes(catalog_json)
    assert run_apart(made(tmp_path).catalog()) == catalog
    assert stand_in.starts == []


def test_many_who_ask_at_once_start_one_process_and_the_next_server_none(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector]
) -> None:
    async def ask(one: Inspector) -> list[Catalog]:
        return await asyncio.gather(*(one.catalog() for _ in range(5)))

    assert run_apart(ask(made(tmp_path))) == [EMPTY] * 5
    assert run_apart(made(tmp_path).catalog()) == EMPTY
    assert len(stand_in.starts) == 1


@pytest.mark.parametrize(
    "kept", [b"", b"{", b"[]", b'{"found":{"families":{}}}', b'{"digest":"old","found":{"families":{}}}']
)
def test_a_catalog_that_is_old_or_broken_is_made_anew(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], kept: bytes
) -> None:
    file = tmp_path / "catalog.json"
    file.write_bytes(kept)
    assert run_apart(made(tmp_path).catalog()) == EMPTY
    assert len(stand_in.starts) == 1
    assert json.loads(file.read_text())["digest"] not in ("", "old")
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".new")] == []


def test_a_zoo_that_cannot_be_looked_at_is_unavailable_and_its_log_says_why(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.does("die")
    with pytest.raises(Unavailable, match="see the server's log"):
        run_apart(made(tmp_path).catalog())
    until(lambda: "no torch here" in caplog.text)
    assert "exit status 1" in caplog.text
    assert not (tmp_path / "catalog.json").exists()


def test_a_fault_inside_the_process_is_logged_and_does_not_end_it(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], caplog: pytest.LogCaptureFixture
) -> None:
    found = made(tmp_path)
    stand_in.does(json.dumps({"fault": "ZeroDivisionError in vit.py"}))
    with pytest.raises(Unavailable, match="see the server's log"):
        run_apart(found.catalog())
    assert "ZeroDivisionError in vit.py" in caplog.text
    stand_in.does("answer")
    assert run_apart(found.catalog()) == EMPTY
    assert len(stand_in.starts) == 1


# The process ---------------------------------------------------------------------------------------------------------


def test_a_process_that_died_is_started_again(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector]
) -> None:
    found = made(tmp_path)
    stand_in.does("die")
    with pytest.raises(Unavailable):
        run_apart(found.catalog())
    stand_in.does("answer")
    assert run_apart(found.catalog()) == EMPTY
    assert len(stand_in.starts) == 2


def started(found: Inspector, stand_in: StandIn) -> Inspector:
    found.warm_up()
    until(lambda: stand_in.starts)
    return found


def test_a_process_that_says_nothing_is_ended(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering_process, "ANSWER_SECONDS", 0.5)
    stand_in.does("hang")
    found = started(made(tmp_path), stand_in)  # which may take longer than an answer may
    with pytest.raises(Unavailable, match="did not respond"):
        run_apart(found.catalog())
    with pytest.raises(ProcessLookupError):
        os.kill(stand_in.starts[0][0], 0)


def test_a_process_that_is_warmed_up_answers_the_first_question(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector]
) -> None:
    found = started(made(tmp_path), stand_in)
    assert run_apart(found.catalog()) == EMPTY
    assert len(stand_in.starts) == 1


def test_a_closed_inspector_leaves_no_process_and_starts_none(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector]
) -> None:
    found = made(tmp_path)
    run_apart(found.start())
    (pid,) = (each[0] for each in stand_in.starts)
    run_apart(found.close())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    found.warm_up()
    with pytest.raises(Unavailable, match="shutting down"):
        run_apart(found.profile(config()))


def test_a_started_inspector_has_looked_at_a_network_already(
    tmp_path: Path, catalog_json: bytes, made: Callable[..., Inspector], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "catalog.json").write_bytes(catalog_json)
    found = made(tmp_path)
    run_apart(found.start())
    monkeypatch.setattr(found, "_ask", None)
    assert run_apart(found.profile(config(family="simple_dense_net", size="small"))).params == 67_978


def test_a_question_whose_asker_went_away_does_not_mix_up_the_answers(
    tmp_path: Path, inspector: Inspector, catalog: Catalog
) -> None:
    async def ask() -> int:
        first = asyncio.create_task(inspector.profile(resolve(RunSpec(family="vit", size="tiny"), catalog)))
        await asyncio.sleep(0)
        first.cancel()
        return (await inspector.profile(resolve(RunSpec(family="simple_mlp", size="tiny"), catalog))).params

    assert run_apart(ask()) == 8390


# Architectures from outside ------------------------------------------------------------------------------------------

MINE = """
from torch import nn
from models import Family, Heads, Size, register

class Net(nn.Module):
    def __init__(self, shape, width):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.side**2, width), nn.ReLU())
        self.heads = Heads(width, shape.heads)
    def forward(self, images, auxiliary=None):
        return self.heads(self.body(images))

counts = tuple(n * {width} + {width} + {width} * c + c for n, c in ((784, 10), (3072, 10), (3072, 100)))
register(Family("mine", "Mine.", "Now.", Net, (Size("only", {{"width": {width}}}, counts),), "only"))
"""


def test_an_edited_architecture_is_seen_without_a_restart_of_the_server(
    tmp_path: Path, made: Callable[..., Inspector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector_module, "LOOK_SECONDS", 0.0)
    outside = tmp_path / "nets"
    outside.mkdir()
    (outside / "mine.py").write_text(MINE.format(width=3))
    found = made(tmp_path / "data", outside)

    def looked() -> tuple[Catalog, int]:
        catalog = run_apart(found.catalog())
        mine = resolve(RunSpec(family="mine", dataset="digits"), catalog)
        return catalog, run_apart(found.profile(mine)).params

    catalog, params = looked()
    assert catalog.families["mine"].source == str(outside / "mine.py")
    assert catalog.families["vit"].source == ""
    assert params == catalog.families["mine"].sizes[0].params["digits"] == 784 * 3 + 3 + 3 * 10 + 10
    (outside / "mine.py").write_text(MINE.format(width=5))
    assert looked()[1] == 784 * 5 + 5 + 5 * 10 + 10
    (outside / "mine.py").write_text("nonsense(")
    broken = run_apart(found.catalog())
    assert "mine" not in broken.families
    assert "SyntaxError" in broken.broken["mine"]


def test_an_edit_outside_counts_no_built_in_network_again(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], catalog: Catalog
) -> None:
    outside = tmp_path / "nets"
    outside.mkdir()
    stand_in.does(json.dumps({"catalog": catalog.model_dump()}))
    data = tmp_path / "data"
    run_apart(made(data, outside).catalog())
    (outside / "new.py").write_text("x = 1")
    run_apart(made(data, outside).catalog())
    known = [[family["name"] for family in question["known"]] for question in stand_in.asked]
    assert known == [[], list(catalog.families)]


def test_what_cannot_be_cached_is_answered_all_the_same(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("a file in the place of the folder")
    found = made(tmp_path / "data")
    assert run_apart(found.catalog()) == EMPTY
    stand_in.does(json.dumps({"traced": TRACED}))
    assert run_apart(found.profile(config(size="tiny"))).params == 5
    assert re.findall(r"could not cache (\w+)\.json", caplog.text)[:2] == ["families", "catalog"]


def test_a_missing_folder_is_told_and_takes_nothing_with_it(
    tmp_path: Path, made: Callable[..., Inspector], catalog: Catalog
) -> None:
    found = run_apart(made(tmp_path / "data", tmp_path / "nowhere").catalog())
    assert list(found.families) == list(catalog.families)
    assert "(RUNYARD_MODELS_PATH)" in found.broken["nowhere"]


def test_a_folder_that_ends_the_process_is_left_out_until_a_file_there_changes(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector]
) -> None:
    outside = tmp_path / "nets"
    outside.mkdir()
    found = made(tmp_path / "data", outside)
    stand_in.does("die with a folder")
    assert f"ignoring {outside} until" in run_apart(found.catalog()).broken["nets"]
    assert [each[1:] for each in stand_in.starts] == [[str(outside)], []]
    run_apart(found.catalog())
    assert len(stand_in.starts) == 2
    stand_in.does("answer")
    (outside / "new.py").write_text("x = 1")
    assert run_apart(found.catalog()).broken == {}
    assert stand_in.starts[-1][1:] == [str(outside)]


# Profiles ------------------------------------------------------------------------------------------------------------


def test_a_network_is_looked_at_once_whatever_it_is_trained_with(
    inspector: Inspector, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(**said: Any) -> RunConfig:
        return resolve(RunSpec.model_validate({"family": "simple_cnn", "size": "tiny"} | said), catalog)

    first = run_apart(inspector.profile(asked()))
    assert (first.params, first.batch_size) == (7851, 32)
    assert first.layers
    assert first.blocks
    # From here on the process cannot be asked.
    monkeypatch.setattr(inspector, "_ask", None)
    other = run_apart(inspector.profile(asked(batch_size=256, lr=0.1, epochs=3, optimizer="sgd", seed=7)))
    assert other.activation_bytes > 1.9 * first.activation_bytes
    assert other.params == first.params


TRACED = {
    "params": 5,
    "flops": 6,
    "weight_bytes": 20,
    "trained_bytes": 20,
    "kept_bytes": 1,
    "kept_bytes_per_image": 2,
    "image_bytes": 3,
    "layers": [{"path": "a", "kind": "Linear", "shape": [1], "params": 5, "flops": 6}],
    "blocks": [],
}


def test_a_network_is_traced_once_for_all_servers_and_a_refusal_is_not_kept(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], catalog: Catalog, catalog_json: bytes
) -> None:
    (tmp_path / "catalog.json").write_bytes(catalog_json)
    tiny, small = (resolve(RunSpec(family="vit", size=size), catalog) for size in ("tiny", "small"))
    stand_in.does(json.dumps({"traced": TRACED}))
    assert run_apart(made(tmp_path).profile(tiny)).params == 5
    stand_in.does("die")
    assert run_apart(made(tmp_path).profile(tiny)).layers[0].path == "a"
    assert len(stand_in.starts) == 1
    stand_in.does(json.dumps({"refusal": {"field": "size", "message": "not now"}}))
    with pytest.raises(SpecError):
        run_apart(made(tmp_path).profile(small))
    stand_in.does(json.dumps({"traced": TRACED}))
    assert run_apart(made(tmp_path).profile(small)).params == 5


def test_no_more_networks_are_kept_than_are_worth_it(
    tmp_path: Path,
    stand_in: StandIn,
    made: Callable[..., Inspector],
    catalog: Catalog,
    catalog_json: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inspector_module, "MAX_CACHED_NETWORKS", 2)
    (tmp_path / "catalog.json").write_bytes(catalog_json)
    stand_in.does(json.dumps({"traced": TRACED}))
    found = made(tmp_path)
    for size in ("tiny", "small", "base"):
        run_apart(found.profile(resolve(RunSpec(family="vit", size=size), catalog)))
        for file in (tmp_path / "networks").iterdir():
            os.utime(file, ns=(0, file.stat().st_mtime_ns - 10**9))
    assert len(list((tmp_path / "networks").iterdir())) == 2


def test_a_network_that_cannot_be_built_is_refused_with_its_field(inspector: Inspector, catalog: Catalog) -> None:
    wrong = resolve(RunSpec(family="vit", dataset="cifar10", options={"patch": 7}), catalog)
    for ask in (inspector.profile, inspector.check):
        with pytest.raises(SpecError) as caught:
            run_apart(ask(wrong))
        assert [each.field for each in caught.value.errors] == ["options"]
    run_apart(inspector.check(resolve(RunSpec(family="vit", dataset="mnist", options={"patch": 7}), catalog)))


def test_a_check_asks_nobody_about_what_the_catalog_knows_and_passes_what_nobody_can_tell(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], catalog: Catalog, catalog_json: bytes
) -> None:
    (tmp_path / "catalog.json").write_bytes(catalog_json)
    found = made(tmp_path)
    run_apart(found.check(resolve(RunSpec(family="vit", dataset="cifar10"), catalog)))
    assert stand_in.starts == []
    stand_in.does("die")
    run_apart(found.check(resolve(RunSpec(family="vit", dataset="cifar10", options={"patch": 7}), catalog)))
    assert len(stand_in.starts) == 1


def test_the_zoo_has_every_size_and_is_kept(
    tmp_path: Path,
    stand_in: StandIn,
    made: Callable[..., Inspector],
    catalog: Catalog,
    catalog_json: bytes,
) -> None:
    # Every network has the same figures here; other tests check that they are right.
    stand_in.does(json.dumps({"traced": TRACED}))
    (tmp_path / "catalog.json").write_bytes(catalog_json)
    zoo = run_apart(made(tmp_path).zoo("cifar10"))
    assert set(zoo) == {(f.name, s.name) for f in catalog.families.values() for s in f.sizes}
    assert {(each.params, each.batch_size, each.activation_bytes) for each in zoo.values()} == {(5, 128, 1 + 2 * 128)}
    assert all(each.layers == [] for each in zoo.values())
    assert run_apart(made(tmp_path).zoo("cifar10")) == zoo
    assert len(stand_in.starts) == 1


def test_a_size_that_cannot_be_trained_on_a_dataset_is_not_in_its_zoo(
    tmp_path: Path, stand_in: StandIn, made: Callable[..., Inspector], catalog_json: bytes
) -> None:
    stand_in.does(json.dumps({"refusal": {"field": "dataset", "message": "too small"}}))
    (tmp_path / "catalog.json").write_bytes(catalog_json)
    assert run_apart(made(tmp_path).zoo("digits")) == {}


def test_a_diagram_is_drawn_from_the_real_network(inspector: Inspector) -> None:
    blocks = run_apart(inspector.diagram("vit", "tiny", "digits"))
    assert [(block.name, block.repeat) for block in blocks[:2]] == [("patches", 1), ("Block", 4)]
    with pytest.raises(SpecError, match="no size 'hug' for vit; sizes: tiny, small, base, large"):
        run_apart(inspector.diagram("vit", "hug", "digits"))
