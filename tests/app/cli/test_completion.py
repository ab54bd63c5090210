"""Shell completion of values."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.cli import completion
from app.contract.settings import Settings
from tests.app.own_dataset import describe_own_dataset
from tests.conftest import Runs


def names(completions: completion.Completions) -> list[str]:
    return [name for name, _ in completions]


def test_names_of_the_contract_need_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_URL", "http://127.0.0.1:9")
    assert names(completion.datasets("")) == ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]
    assert names(completion.datasets("digits,cifar10")) == ["digits,cifar10", "digits,cifar100"]
    assert names(completion.recipes("q")) == ["quick"]
    assert "vit_mnist_995" in names(completion.presets("vit"))


def test_families_sizes_runs_and_sweeps_are_those_of_the_server(
    url: str, runs: Runs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time limit is not tested here.
    monkeypatch.setattr(completion, "SECONDS", 20.0)
    describe_own_dataset(settings.datasets)
    assert names(completion.datasets("f")) == ["fashion_mnist", "flowers"]
    first = runs.add()
    runs.add()
    assert {"vit", "simple_cnn"} <= set(names(completion.families("")))
    assert names(completion.families("vit,simple_c")) == ["vit,simple_cnn"]
    assert names(completion.sizes("tin")) == ["tiny"]
    assert names(completion.runs("")) == ["2", "1"]
    assert names(completion.runs(first[:12])) == [first] or len(names(completion.runs("r_"))) == 2
    assert completion.sweeps("") == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "nonsense", "http://["])
def test_without_a_server_nothing_is_completions_and_nothing_is_said(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNYARD_URL", address)
    assert completion.families("") == completion.runs("") == []
    assert capsys.readouterr() == ("", "")


def test_a_shell_is_told_the_values_of_a_flag() -> None:
    asked = {
        "RUNYARD_URL": "http://127.0.0.1:9",
        "_RUNYARD_COMPLETE": "complete_bash",
        "COMP_WORDS": "runyard launch --dataset ci",
        "COMP_CWORD": "3",
    }
    code = "import sys; sys.argv = ['runyard']; from app.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.split() == ["cifar10", "cifar100"], done
