from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from worker import environment
from worker.environment import capture, checkout, clean_command, highlights


def git(folder: Path, *words: str) -> None:
    named = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *named, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "inside").mkdir(parents=True)
    git(folder, "init", "-b", "trunk")
    (folder / "file.py").write_text("a = 1\n")
    (folder / "inside" / "net.py").write_text("b = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def test_a_checkout_tells_commit_branch_and_what_is_not_committed(repository: Path) -> None:
    clean = checkout(repository)
    assert clean is not None
    assert (clean["branch"], len(clean["commit"])) == ("trunk", 40)
    assert "diff" not in clean
    assert "untracked" not in clean
    (repository / "file.py").write_text("a = 2\n")
    (repository / "fresh.py").write_text("")
    git(repository, "add", "file.py")  # staged or not, it is not committed
    changed = checkout(repository)
    assert changed is not None
    assert "-a = 1\n+a = 2" in changed["diff"]
    assert changed["untracked"] == ["fresh.py"]


def test_of_a_folder_within_a_checkout_only_its_own_changes_count(repository: Path) -> None:
    (repository / "file.py").write_text("a = 2\n")
    (repository / "inside" / "net.py").write_text("b = 2\n")
    found = checkout(repository / "inside")
    assert found is not None
    assert found["folder"] == str(repository)
    assert "+b = 2" in found["diff"]
    assert "file.py" not in found["diff"]


def test_a_large_diff_is_cut_and_says_so(repository: Path) -> None:
    (repository / "file.py").write_text("é" * 200_000)
    found = checkout(repository)
    assert found is not None
    assert len(found["diff"].encode()) <= environment.MAX_DIFF_BYTES
    assert found["note"].startswith("diff truncated to the first 64 of ")


def test_no_checkout_no_git_and_no_commit_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkout(tmp_path) is None
    assert checkout(tmp_path / "nowhere") is None
    git(tmp_path, "init", "-b", "trunk")
    (tmp_path / "a").write_text("x")
    found = checkout(tmp_path)
    assert found is not None
    assert (found["commit"], found["untracked"]) == ("", ["a"])
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert checkout(tmp_path) is None


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["runyard", "worker", "--slots", "2"], "runyard worker --slots 2"),
        (["runyard", "--token", "abc", "x"], "runyard --token … x"),
        (["runyard", "--api-key=abc"], "runyard --api-key=…"),
        (["x", "redis://user:secret@host/0"], "x redis://…@host/0"),
        (["RUNYARD_TOKEN=abc", "y"], "RUNYARD_TOKEN=… y"),
        (["caf\udce9"], "caf?"),
    ],
)
def test_a_command_is_shown_without_what_is_secret(words: list[str], shown: str) -> None:
    assert clean_command(words) == shown


def test_a_capture_tells_all_and_nothing_of_the_environment_variables(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_SECRET_THING", "do-not-tell-me")
    found = capture(
        datasets=datasets,
        name="digits",
        measured=True,
        device=torch.device("cpu"),
        models_path=tmp_path,
        command=["runyard", "up"],
    )
    assert found["command"] == "runyard up"
    assert torch.__version__.startswith(found["packages"]["torch"])
    assert any(line.startswith("numpy==") for line in found["freeze"])
    assert len(found["dataset"]["sha256"]) == 64
    assert found["models"]["note"] == "not in a Git repository"
    assert found["machine"]["cores"] > 0
    assert "do-not-tell-me" not in json.dumps(found)
    few = highlights(found)
    assert found["dataset"]["sha256"].startswith(few["dataset_sha256"])
    assert len(json.dumps(few)) < 400, "it stands beside every run of a list"
