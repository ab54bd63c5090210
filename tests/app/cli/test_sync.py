"""`runyard sync`: what programs could not send is sent, and what is left is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import FastAPI

from runyard import Runyard
from tests.app.cli.conftest import Command
from tests.served import serving


def test_what_a_program_left_is_sent(
    server: FastAPI, runyard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_SPOOL_DIR", str(tmp_path / "spool"))
    with serving(server) as url:
        port = int(url.rpartition(":")[2])
    with Runyard(url) as away:
        run = away.start("baseline")
        run.log({"loss": 1.0})
        run.finish(timeout=0)
    monkeypatch.setenv("RUNYARD_URL", url)
    done = runyard("sync")
    assert (done.exit_code, done.stderr) == (1, f"runyard: baseline: {url} does not respond\n")
    with serving(server, port), Runyard(url) as yard:
        done = runyard("sync")
        assert (done.exit_code, done.stdout) == (0, f"baseline  sent to {url}\n")
        (found,) = yard.runs()
        assert (found.title, found.status) == ("baseline", "succeeded")
        assert runyard("sync").stdout == "Nothing to send.\n"
        assert json.loads(runyard("sync", "--json").stdout) == {"runs": []}
