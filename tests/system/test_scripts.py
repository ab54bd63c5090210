"""The command line and the Python client against a whole Runyard that trains for real."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from typing import Any

from runyard import Runyard
from tests.system.running_yard import ROOT


def runyard(yard: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """A command as a user runs it."""
    command = [sys.executable, "-m", "app.cli", *words]
    environment = os.environ | {"RUNYARD_URL": yard.address, "COLUMNS": "200"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_one_command_trains_every_combination_and_links_to_means_with_intervals(yard: Any) -> None:
    words = "launch --family simple_cnn,vit --size tiny,small --dataset digits --seeds 3 --epochs 3 --wait"
    done = runyard(yard, *words.split())
    assert done.returncode == 0, done.stdout + done.stderr
    ended = [line for line in done.stdout.splitlines() if line.startswith("succeeded")]
    assert len(ended) == 12
    (link,) = re.findall(r"^comparison: (\S+)$", done.stdout, re.M)
    assert re.fullmatch(rf"{yard.address}/compare\?runs=r_\w+(,r_\w+){{11}}&by=variant", link)
    with urllib.request.urlopen(link) as answer:
        page = answer.read().decode()
    assert page.count("±") >= 4
    (sweep,) = re.findall(r"^sweep: \S+/sweeps/(\S+)$", done.stdout, re.M)
    said = json.loads(runyard(yard, "compare", "--sweep", sweep, "--json").stdout)
    assert len(said["groups"]) == 4
    for group in said["groups"]:
        assert len(group["runs"]) == 3
        assert group["figures"]["test/acc"]["half"] > 0
    with Runyard(yard.address) as client:
        assert client.find_sweep(sweep).wait(timeout=60).counts == {"succeeded": 12}


def test_curves_are_drawn_while_a_run_trains_and_ctrl_c_leaves_it_alone(yard: Any) -> None:
    command = [sys.executable, "-m", "app.cli", "launch", "--family", "vit", "--epochs", "500", "--watch"]
    environment = os.environ | {"RUNYARD_URL": yard.address, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    own, theirs = pty.openpty()
    # A shell that runs the tests in the background lets them, and so their children, ignore Ctrl-C.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    said = bytearray()

    def listen() -> None:
        try:
            while data := os.read(own, 65536):
                said.extend(data)
        except OSError:
            # How the end of a terminal is told.
            return

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        # Dots of braille, and a second picture over the first.
        yard.until(lambda: re.search("[⠁-⣿]", said.decode("utf-8", "replace")) and said.count(b"accuracy") > 1, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        listening.join(10)
        os.close(own)
    (run_id,) = re.findall(
        r"the runs continue \(stop them with `runyard cancel (r_\w+)`\)", re.sub(r"\s+", " ", said.decode())
    )
    with Runyard(yard.address) as client:
        run = client.run(run_id)
        assert run.status == "running"
        assert json.loads(runyard(yard, "cancel", f"#{run.number}", "--json").stdout)["stopping"] == [run_id]
        # The points of a real trainer, live and to the last: those that the curve has.
        told = [(point.step, point.value) for point in run.metrics(["train/loss"])]
        curve = run.curves(["train/loss"])["train/loss"]
        assert told == list(zip(curve.step.tolist(), curve.value.tolist(), strict=True))
        assert run.wait(timeout=30).status == "cancelled"
    assert runyard(yard, "watch", run_id).returncode == 1
