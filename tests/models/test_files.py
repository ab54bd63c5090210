"""Architecture files: those of the package, and those in a user's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import models
from models import Family, Shape, UnknownArchitecture, build, families, get, load_path
from models._files import discover

TINY = """
from torch import nn

from models import Family, Heads, Shape, Size, register


class TinyNet(nn.Module):
    def __init__(self, shape, width):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.side**2, width), nn.ReLU())
        self.heads = Heads(width, shape.heads)

    def forward(self, images, auxiliary=None):
        return self.heads(self.body(images))


register(Family(NAME, "Small.", "In tests.", TinyNet, (Size("small", {"width": 2}, COUNTS),), "small"))
"""
COUNTS = (28 * 28 * 2 + 2 + 30, 3 * 32 * 32 * 2 + 2 + 30, 3 * 32 * 32 * 2 + 2 + 300)


def tiny(name: str, counts: object = COUNTS) -> str:
    return TINY.replace("NAME", repr(name)).replace("COUNTS", repr(counts))


@pytest.fixture
def folder(tmp_path: Path, own_catalog: dict[str, Family]) -> Path:
    """A folder outside the package, and a catalog that is restored after the test."""
    found = tmp_path / "architectures"
    found.mkdir()
    return found


def test_a_file_outside_the_package_is_a_family_like_those_inside(folder: Path, mnist: Shape) -> None:
    (folder / "tiny_net.py").write_text(tiny("tiny_net"))
    assert load_path(folder) == {}
    assert list(families())[-1] == "tiny_net"
    assert get("tiny_net").source == str(folder / "tiny_net.py")
    assert build("tiny_net", "small", mnist)(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_a_file_may_have_any_name_and_hides_no_other_module(folder: Path) -> None:
    for name in ("torch", "vit", "json", "models", "tiny-net"):
        (folder / f"{name}.py").write_text(tiny(f"my_{name}"))
    before = list(sys.path)
    assert load_path(folder) == {}
    assert sys.path == before
    assert sys.modules["torch"] is torch
    assert sys.modules["models.vit"].__file__ == str(Path(models.__path__[0]) / "vit.py")
    assert {"my_torch", "my_vit", "my_json", "my_models", "my_tiny-net", "vit"} <= set(families())


def test_files_of_the_same_name_in_two_folders_are_two_modules(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (folder / "net.py").write_text(tiny("net"))
    (other / "net.py").write_text(tiny("other_net"))
    assert load_path(folder) == load_path(other) == {}
    assert get("net").build.__module__ != get("other_net").build.__module__


BROKEN = [
    ("def (", "SyntaxError: invalid syntax (line 1)"),
    ("x = 1\nimport nobody_has_this", "ModuleNotFoundError: No module named 'nobody_has_this' (line 2)"),
    ("def f():\n    return 1 / 0\n\n\nf()\n", "ZeroDivisionError: division by zero (line 2)"),
    ("import sys\nsys.exit(3)", "SystemExit: 3 (line 2)"),
    ("raise BaseException('no')", "BaseException: no (line 1)"),
    ("raise GeneratorExit", "GeneratorExit (line 1)"),
    ("raise RuntimeError('first\\nsecond')", "RuntimeError: first (line 1)"),
    ("class E(Exception):\n    __str__ = None\nraise E", "E: <exception str() failed> (line 3)"),
    ("x = 1", "the file registers no family; add register(Family(…)) at the end"),
    (b"\xff\xfe\x00\x00", "SyntaxError: "),
    (tiny("vit"), "a family named 'vit' is already registered by models/vit.py"),
    (tiny("all"), "'all' is not a valid family name: use letters, digits, _ . and -, and not 'all'"),
    (tiny("net").replace('"small"))', '"smal"))'), "no size 'smal' for net; sizes: small"),
    (tiny("net") + "raise KeyError('after all')", "KeyError: 'after all' (line 18)"),
]


@pytest.mark.parametrize(("content", "sentence"), BROKEN, ids=[sentence[:30] for _, sentence in BROKEN])
def test_a_file_that_cannot_be_loaded_is_named_and_breaks_nothing_else(
    folder: Path, content: str | bytes, sentence: str
) -> None:
    before = list(families())
    (folder / "broken.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "a_neighbour.py").write_text(tiny("a_neighbour"))
    (folder / "the_neighbour.py").write_text(tiny("the_neighbour"))

    broken = load_path(folder)

    assert list(broken) == ["broken"]
    assert sentence in broken["broken"]
    assert list(families()) == [*before, "a_neighbour", "the_neighbour"]
    assert not [name for name in sys.modules if name.endswith(".broken")]


def test_an_interruption_is_no_broken_file(folder: Path) -> None:
    (folder / "slow.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_path(folder)


def test_a_wrong_count_is_refused_with_the_right_numbers(folder: Path) -> None:
    (folder / "tiny_net.py").write_text(tiny("tiny_net", (1601, *COUNTS[1:])))
    assert load_path(folder) == {
        "tiny_net": "tiny_net/small has 1,600 parameters for MNIST, not 1,601; use counts=(1600, 6176, 6446)"
    }
    assert "tiny_net" not in families()


def test_of_two_families_in_a_file_none_stays_when_one_is_wrong(folder: Path) -> None:
    (folder / "two.py").write_text(tiny("right") + tiny("wrong", ()))
    broken = load_path(folder)
    assert broken == {
        "two": "wrong/small needs three parameter counts (MNIST, CIFAR-10, CIFAR-100), not ();"
        " use counts=(1600, 6176, 6446)"
    }
    assert not {"right", "wrong"} & set(families())


def test_the_first_of_two_files_with_the_same_family_has_it(folder: Path) -> None:
    (folder / "b.py").write_text(tiny("net"))
    (folder / "a.py").write_text(tiny("net"))
    assert load_path(folder) == {"b": f"a family named 'net' is already registered by {folder / 'a.py'}"}


def test_a_neighbour_is_imported_with_a_dot_and_registers_once(folder: Path) -> None:
    (folder / "_blocks.py").write_text("WIDTH = 2")
    (folder / "a.py").write_text("from ._blocks import WIDTH\nfrom .b import TinyNet\nassert WIDTH == 2\n" + tiny("a"))
    (folder / "b.py").write_text(tiny("b"))
    assert load_path(folder) == {}
    assert get("a").source == str(folder / "a.py")
    assert get("b").source == str(folder / "b.py")


def test_a_neighbour_stays_when_the_file_that_imports_it_fails(folder: Path) -> None:
    (folder / "a.py").write_text("from .b import nothing")
    (folder / "c.py").write_text("from .d import TinyNet\n" + tiny("c", (1, 2, 3)))
    (folder / "d.py").write_text(tiny("d"))
    assert list(load_path(folder)) == ["a", "c"]
    assert "d" in families()


def test_a_second_call_changes_nothing_and_says_the_same(folder: Path) -> None:
    (folder / "broken.py").write_text("def (")
    (folder / "net.py").write_text(tiny("net"))
    first = load_path(folder)
    (folder / "net.py").write_text(tiny("renamed"))
    assert load_path(folder / ".." / folder.name) == first == {"broken": "SyntaxError: invalid syntax (line 1)"}
    assert "net" in families()
    assert "renamed" not in families()


def test_a_changed_file_is_loaded_anew_by_the_next_process_however_soon_and_nothing_is_written(folder: Path) -> None:
    code = "import sys, pathlib, models as m; print(m.load_path(pathlib.Path(sys.argv[1]))); print(*m.families())"

    def loaded() -> str:
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        return done.stdout

    file = folder / "net.py"
    file.write_text("print('said at import')\n" + tiny("net_1"))
    times = (file.stat().st_atime, file.stat().st_mtime)
    first = loaded()
    file.write_text("print('said at import')\n" + tiny("net_2"))
    os.utime(file, times)
    second = loaded()
    assert first.splitlines()[0] == second.splitlines()[0] == "{}"
    assert first.split()[-1] == "net_1"
    assert second.split()[-1] == "net_2"
    assert [each.name for each in folder.iterdir()] == ["net.py"]


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, name: str, own_catalog: dict[str, Family]) -> None:
    (tmp_path / "file").touch()
    found = load_path(tmp_path / name)
    assert list(found) == [name]
    assert found[name].startswith(f"cannot read {tmp_path / name} (RUNYARD_MODELS_PATH): N")


def test_what_is_no_python_file_is_left_alone_and_what_only_looks_like_one_is_named(folder: Path) -> None:
    (folder / "README.md").write_text("def (")
    (folder / "_notes.py").write_text("raise RuntimeError('this must not be imported')")
    (folder / "package.py").mkdir()
    (folder / "gone.py").symlink_to(folder / "nowhere")
    (folder / "a.b.py").write_text(tiny("a"))
    assert load_path(folder) == {
        "a.b": "a module name cannot contain a dot; rename the file",
        "gone": "gone.py is not a file",
        "package": "package.py is not a file",
    }


def test_the_name_of_a_broken_file_can_be_sent_as_json_whatever_its_bytes(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/net\xff.py", "w") as file:
        file.write("def (")
    (broken,) = load_path(folder).items()
    assert broken[0].encode() == b"net?"
    assert "SyntaxError" in broken[1].encode().decode()


def test_loading_leaves_the_random_state_as_it_was(folder: Path) -> None:
    (folder / "net.py").write_text(tiny("net"))
    before = torch.get_rng_state()
    assert load_path(folder) == {}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_family_whose_file_broke_fails_with_the_reason(folder: Path, mnist: Shape) -> None:
    (folder / "tiny_net.py").write_text(tiny("tiny_net", (1, *COUNTS[1:])))
    load_path(folder, run_forward=False)
    with pytest.raises(UnknownArchitecture, match="could not load family 'tiny_net': tiny_net/small has 1,600"):
        build("tiny_net", "small", mnist)


def test_logits_are_looked_at_unless_that_is_left_out(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for where, name in ((folder, "net"), (other, "other_net")):
        (where / "net.py").write_text(tiny(name).replace("return self.heads(", "return (lambda x: x)("))
    assert (
        "net/small returns logits [1, 2] for 1 image with one head, expected logits [1, 10]" in load_path(folder)["net"]
    )
    assert load_path(other, run_forward=False) == {}


def test_a_module_of_the_package_that_cannot_be_imported_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_catalog: dict[str, Family]
) -> None:
    package = tmp_path / "zoo_of_this_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "absent.py").write_text("import a_module_that_nobody_has")
    (package / "crooked.py").write_text("def (")
    (package / "halfway.py").write_text(tiny("halfway") + "raise ValueError('stop')")
    (package / "whole.py").write_text(
        "from dataclasses import replace\nfrom models import get, register\nregister(replace(get('vit'), name='whole'))"
    )
    (package / "_machinery.py").write_text("raise RuntimeError('this must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)

    broken = discover(package.name, [str(package)])

    assert set(broken) == {"absent", "crooked", "halfway"}
    assert broken["absent"] == "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    assert broken["crooked"] == "SyntaxError: invalid syntax (line 1)"
    assert "halfway" not in families()
    assert get("whole").source == "zoo_of_this_test/whole.py"
    with pytest.raises(UnknownArchitecture, match="could not load family 'absent': ModuleNotFoundError"):
        get("absent")
