"""The zoo: every family with its blocks, its sizes with what they cost, and what successful runs say of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.analysis.reference import references
from app.contract.catalog import Catalog
from app.contract.errors import Unavailable
from app.contract.presets import PRESETS
from app.contract.preview import Block, Profile
from app.contract.spec import FieldError, RunConfig, SpecError
from app.routes.architectures import page as architectures_page
from app.routes.architectures.page import COLUMNS, megas

HTMX = {"HX-Request": "true"}
SIZES = 29
REFERENCES = sum(dataset == "digits" for _, _, dataset in references())


def a_block(name: str, shape: list[int], params: int, kind: str = "", repeat: int = 1, *parts: Block) -> Block:
    return Block(name=name, kind=kind or name, shape=shape, params=params, repeat=repeat, parts=list(parts))


class Looked:
    """In the inspector's place: answers at once, unless it is told to wait, to refuse or to be away."""

    def __init__(self, catalog: Catalog) -> None:
        self.known = catalog
        self.ready = asyncio.Event()
        self.ready.set()
        self.failure: Exception | None = None
        self.drawn: list[tuple[str, str, str]] = []

    async def start(self) -> None:
        """Nothing: it has no process."""

    def warm_up(self) -> None:
        """Nothing, for the same reason."""

    async def catalog(self) -> Catalog:
        return self.known

    async def zoo(self, dataset: str) -> dict[tuple[str, str], Profile]:
        await self.ready.wait()
        if isinstance(self.failure, Unavailable):
            raise self.failure
        found = {}
        for family in self.known.families.values():
            for size in family.sizes:
                params = size.params[dataset]
                found[family.name, size.name] = Profile(
                    params=params, flops=2 * params, batch_size=128, activation_bytes=params, memory_bytes=20 * params
                )
        return found

    async def profile(self, config: RunConfig) -> Profile:
        if isinstance(self.failure, Unavailable):
            raise self.failure
        return Profile(params=900_000 + len(config.targets), flops=1, batch_size=1, activation_bytes=1, memory_bytes=1)

    async def diagram(self, family: str, size: str, dataset: str) -> list[Block]:
        self.drawn.append((family, size, dataset))
        if isinstance(self.failure, Unavailable) or (self.failure and family == "vit"):
            raise self.failure
        inside = (a_block("conv <1>", [8, 7, 7], 30, "Conv2d"), a_block("norm", [8, 7, 7], 10, "LayerNorm"))
        return [a_block("stem", [8, 14, 14], 20), a_block("Block", [8, 7, 7], 40, "Block", 3, *inside)]

    async def close(self) -> None:
        pass


@pytest.fixture
def looked(server: FastAPI, catalog: Catalog) -> Iterator[Looked]:
    """The stand-in, put into the server before it starts."""
    whole = server.state.parts.inspector
    found = server.state.parts.inspector = Looked(catalog)
    yield found
    server.state.parts.inspector = whole


@pytest.fixture
def zoo(looked: Looked, client: TestClient, look: Any) -> Callable[..., Any]:
    """The page as it comes when costs and diagrams are waited for."""

    def read(query: str = "", status: int = 200) -> Any:
        return look(client.get(f"/architectures?wait=1&{query}"), status)

    return read


def names_of(page: Any) -> list[str]:
    return re.findall(r'<span class="size">(\w+)</span>', page.html)


def cells_of(row: str) -> list[str]:
    """The words of each cell of a row."""
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split()) for cell in re.split(r"</t[dh]>", row)[:-1]]


def rows_of(page: Any) -> list[list[str]]:
    """Every row of sizes, in the order of the page: name, definition, then the columns."""
    return [cells_of(row) for row in page.html.split("<tr>") if '<span class="size">' in row]


def row_of(page: Any, size: str) -> list[str]:
    """The only row of a size."""
    (row,) = (row for row in rows_of(page) if row[0].split()[0] == size or row[0].split()[1:2] == [size])
    return row


def number(words: str) -> float | None:
    """A cell as the number that it stands for; None for a dash."""
    if words == "–":
        return None
    first = words.replace(",", "").split()[0]
    return float(first.rstrip("kM%")) * {"k": 1e3, "M": 1e6}.get(first[-1], 1)


def test_every_family_has_a_card_with_what_it_is_and_when_to_choose_it(zoo: Any, catalog: Catalog) -> None:
    page = zoo()
    assert len(page.all("section", class_="card family")) == len(catalog.families) == 6
    for family in catalog.families.values():
        assert page.one("section", id=f"family-{family.name}")
        for words in (family.summary, family.when, family.reference):
            assert words in unescape(page.html)
    assert "<b>4</b> · 7" in page.html
    assert "the batch size must be at least 2" in page.html
    assert "Accepts auxiliary scalars" in page.html


def test_every_size_stands_there_with_its_exact_count_for_the_dataset(zoo: Any, catalog: Catalog) -> None:
    for dataset in ("digits", "cifar100"):
        page = zoo(f"dataset={dataset}")
        assert len(names_of(page)) == SIZES
        for family in catalog.families.values():
            for size in family.sizes:
                assert f">{size.params[dataset]:,}<" in page.html
                assert f"/launch?family={family.name}&amp;size={size.name}&amp;dataset={dataset}" in page.html


def test_costs_are_in_millions(zoo: Any) -> None:
    assert row_of(zoo("dataset=mnist"), "xlarge")[2:6] == ["997,642", "2", "0.998", "20"]
    assert [megas(value) for value in (421_834, 35_100_000, 999.6e6, 1_239_600_000)] == [
        "0.422",
        "35.1",
        "1,000",
        "1,240",
    ]


def test_a_diagram_is_read_out_block_by_block(zoo: Any) -> None:
    page = zoo("blocks=vit/large")
    assert page.one("ol", aria_label="vit large, block by block")
    assert len(page.all("ol", aria_label="Inside Block")) == 6
    pictures = page.all("svg", role="img")
    assert len(pictures) == 6 * (3 + 3)
    assert all(each["aria-label"] for each in pictures)
    assert {"stem: output 8×14×14, 20 parameters", "3 × Block: output 8×7×7, 120 parameters", "output: 8×7×7"} < {
        each["aria-label"] for each in pictures
    }
    assert "conv &lt;1&gt;" in page.html


def test_the_blocks_of_another_size_are_an_address_away(zoo: Any, looked: Looked) -> None:
    page = zoo("dataset=mnist&blocks=vit/tiny")
    assert ("vit", "tiny", "mnist") in looked.drawn
    assert ("simple_cnn", "base", "mnist") in looked.drawn
    assert page.one("a", id="blocks-vit-tiny")["aria-current"] == "true"
    assert "aria-current" not in page.one("a", id="blocks-vit-small")
    address = page.one("a", id="blocks-simple_cnn-tiny")["href"]
    assert address == "/architectures?dataset=mnist&blocks=vit/tiny&blocks=simple_cnn/tiny"
    both = zoo(address.partition("?")[2])
    assert {("vit", "tiny", "mnist"), ("simple_cnn", "tiny", "mnist")} <= set(looked.drawn)
    assert both.one("a", id="blocks-simple_cnn-tiny")["aria-current"] == "true"


@pytest.mark.parametrize("key", [column.key for column in COLUMNS])
def test_every_column_sorts_by_the_address_in_both_directions(zoo: Any, trained: Any, runs: Any, key: str) -> None:
    for i, size in enumerate(("tiny", "small", "base")):
        run = trained(size=size, level=0.5 + i / 10)
        runs.set(run, progress=json.dumps({"samples_per_second": 100 * (1 + i)}))
    place = [each.key for each in COLUMNS].index(key)
    for sign, ordering in (("", "ascending"), ("-", "descending")):
        page = zoo(f"view=table&sort={sign}{key}")
        found = [each["aria-sort"] for each in page.all("th") if "aria-sort" in each]
        assert found == [ordering if i == place else "none" for i in range(len(COLUMNS))]
        rows = rows_of(page)
        assert len({row[0] for row in rows}) == SIZES
        if key == "size":
            assert rows[0][0] == ("simple_dense_net tiny" if not sign else "efficientnet large")
            continue
        values = [number(row[place + 1]) for row in rows]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=bool(sign))
        # Without a value, a size stands last either way.
        assert values[len(known) :] == [None] * (SIZES - len(known))
        assert len(known) == {"speed": 3, "test_acc": 3, "peak": 0, "reference": REFERENCES}.get(key, SIZES)


def test_a_table_of_all_sizes_puts_the_largest_first_when_asked(zoo: Any, looked: Looked) -> None:
    page = zoo("dataset=cifar100&view=table&sort=-params")
    assert names_of(page)[0] == "large"
    assert "14,437,348" in page.html.split("<tbody>")[1].split("</tr>")[0]
    assert looked.drawn == []


def test_measured_columns_fill_from_finished_runs_and_say_how_many(zoo: Any, trained: Any) -> None:
    empty = zoo()
    assert "no run has succeeded yet" in empty.html
    assert row_of(empty, "huge")[6:9] == ["–", "–", "–"]
    trained(family="convnext_v2", size="huge", level=0.9)
    best = trained(family="convnext_v2", size="huge", level=0.96)
    page = zoo()
    assert row_of(page, "huge")[6:9] == ["182k 2 runs", "–", "95.00% 2 runs"]
    assert f'href="/runs/{best}"' in page.html
    assert "runs on made-up cpu with batch size 32" in page.html
    assert row_of(zoo("dataset=mnist"), "huge")[6:9] == ["–", "–", "–"]


def test_the_best_measurement_is_marked_once_there_are_two(zoo: Any, trained: Any) -> None:
    trained(size="tiny", level=0.7)
    assert "measured best" not in zoo().html
    trained(size="small", level=0.9)
    page = zoo()
    assert page.html.count("measured best") == 1
    row = next(each for each in page.html.split("<tr>") if "measured best" in each)
    assert "89.00%" in row


def test_measurements_of_several_devices_are_with_distinct_names(zoo: Any, trained: Any, runs: Any) -> None:
    for _ in range(2):
        trained(family="convnext_v2", size="huge")
    runs.set(trained(family="convnext_v2", size="huge"), device="fast gpu", progress='{"samples_per_second": 900}')
    page = zoo("device=fast+gpu")
    assert page.one("option", value="fast gpu")["selected"] == ""
    assert row_of(page, "huge")[6:9] == ["900 1 run", "–", "89.00% 3 runs"]
    assert "runs on fast gpu with batch size" in page.html
    # One that has measured nothing here: what most runs were on is shown, and named.
    for address in ("", "device=gone"):
        assert row_of(zoo(address), "huge")[6] == "182k 2 runs"
        assert "runs on made-up cpu with batch size" in zoo(address).html


def test_the_page_comes_before_its_costs_and_fetches_them_by_itself(
    looked: Looked, client: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked.ready.clear()
    page = look(client.get("/architectures?dataset=mnist&sort=params"))
    assert len(names_of(page)) == SIZES
    assert 'aria-label="computing"' in page.html
    assert "421,834" in page.html
    # Diagrams are there sooner than the costs of all sizes.
    assert page.one("ol", aria_label="vit small, block by block")
    fetch = page.one("div", id="zoo-refresh")
    assert (fetch["hx-trigger"], fetch["hx-target"]) == ("load, every 1s", "#zoo")
    assert page.one("meta", http_equiv="refresh")["content"].endswith(fetch["hx-get"])
    monkeypatch.setattr(architectures_page, "WAIT_SECONDS", 0.01)
    still = look(client.get(fetch["hx-get"], headers=HTMX))
    assert still.one("div", id="zoo-refresh") == fetch
    looked.ready.set()
    monkeypatch.undo()
    part = look(client.get(fetch["hx-get"], headers=HTMX))
    assert "<html" not in part.html
    assert 'aria-label="computing"' not in part.html
    after = part.one("div", id="zoo-refresh")
    assert after["hx-get"] == "/architectures?dataset=mnist&sort=params"
    assert after["hx-trigger"].startswith("yard-changed")


def test_without_the_inspector_everything_else_is_there(zoo: Any, looked: Looked) -> None:
    looked.failure = Unavailable("the networks could not be looked at")
    page = zoo()
    assert "FLOPs, memory and diagrams are unavailable: the networks could not be looked at." in page.html
    assert len(names_of(page)) == SIZES
    assert row_of(page, "huge")[3:6] == ["–", "–", "–"]
    assert page.html.count("No diagram available.") == 6


def test_a_network_that_cannot_be_built_so_says_why_and_the_others_are_drawn(zoo: Any, looked: Looked) -> None:
    looked.failure = SpecError([FieldError("options", "a patch of 7 does not divide 32")])
    page = zoo("dataset=cifar10")
    assert page.html.count("a patch of 7 does not divide 32") == 1
    assert len(page.all("ol", aria_label="Inside Block")) == 5


def test_a_size_that_does_not_fit_the_dataset_has_no_launch_button(zoo: Any, looked: Looked) -> None:
    vit = looked.known.families["vit"]
    sizes = [size.model_copy(update={"params": {"digits": 5}}) for size in vit.sizes]
    changed = {"vit": vit.model_copy(update={"sizes": sizes})}
    looked.known = looked.known.model_copy(update={"families": looked.known.families | changed})
    looked.failure = Unavailable("away")
    page = zoo("dataset=mnist")
    assert page.html.count("not supported on mnist") == len(sizes)
    assert "family=vit&amp;size=" not in page.html
    assert "family=vit&amp;size=" in zoo().html


def test_a_family_from_outside_names_its_file(zoo: Any, looked: Looked) -> None:
    assert "<dt>File</dt>" not in zoo().html
    vit = looked.known.families["vit"].model_copy(update={"source": "/data/nets/vit.py"})
    looked.known = looked.known.model_copy(update={"families": looked.known.families | {"vit": vit}})
    page = zoo()
    assert page.html.count("<dt>File</dt><dd><code>/data/nets/vit.py</code></dd>") == 1


def test_files_that_could_not_be_loaded_are_shown_with_the_reason(
    zoo: Any, looked: Looked, server: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "could not be loaded" not in zoo().html
    outside = tmp_path / "nets"
    outside.mkdir()
    (outside / "mine.py").write_text("nn.Linear\n")
    parts = server.state.parts
    monkeypatch.setattr(parts, "settings", parts.settings.model_copy(update={"models_path": outside}))
    broken = {"mine": "NameError: name 'nn' is not defined (line 3)", "vit": "it registers no family", "gone": "why"}
    looked.known = looked.known.model_copy(update={"broken": broken})
    page = zoo()
    assert f"<code>{outside}/mine.py</code>" in page.html
    assert "NameError: name 'nn' is not defined (line 3)" in unescape(page.html)
    assert "<code>models/vit.py</code>" in page.html
    assert "<code>gone</code>" in page.html
    assert "it registers no family" in page.html


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("dataset=nothing", "o dataset 'nothing'; datasets: digits, mnist"),
        ("view=grid", "o view 'grid'; views: family, table"),
        ("sort=beauty", "annot sort by 'beauty'; columns: size, params"),
        ("blocks=nope/tiny", "o family 'nope'; families: simple_dense_net"),
        ("blocks=vit/huge", "o size 'huge' for vit; sizes: tiny, small, base, large"),
    ],
)
def test_an_address_that_names_what_is_not_there_is_told_what_is(zoo: Any, query: str, words: str) -> None:
    assert words in unescape(zoo(query, 422).html)


def test_all_of_a_family_or_dataset_are_a_click_away(zoo: Any, client: Any, look: Any) -> None:
    page = zoo("dataset=mnist")
    for address in ("/architectures/launch?dataset=mnist", "/architectures/launch?family=vit&dataset=mnist"):
        assert page.one("a", href=address)
        assert look(client.get(address))


def test_every_preset_is_listed_and_can_be_launched(zoo: Any, client: Any, look: Any) -> None:
    page = zoo()
    assert len(PRESETS) == 38
    for name in PRESETS:
        assert f'href="/launch?preset={name}"' in page.html
    rows = page.html.split('id="presets"')[1].split("<tr>")
    heads = next(row for row in rows if "multihead_cnn_mnist" in row)
    assert "targets digit, thickness, smoothness" in heads
    assert '<td class="n">900,003</td>' in heads
    assert "421,834" in next(row for row in rows if "mnist_cnn_421k" in row)
    assert look(client.get("/launch?preset=vit_mnist_995"))


def test_tables_can_be_read_without_seeing_them(zoo: Any) -> None:
    page = zoo()
    assert page.html.count("<caption") == len(page.all("table")) == 7
    assert all("scope" in found for found in page.all("th"))
    assert all(found["tabindex"] == "0" and found["aria-label"] for found in page.all("div", role="region"))


def test_the_page_is_in_the_navigation_and_hears_of_changes(zoo: Any) -> None:
    page = zoo()
    assert page.one("a", href="/architectures")["aria-current"] == "page"
    assert page.one("body")["data-stream"] == "/api/v1/events"
