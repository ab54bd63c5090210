"""A team on a network: a server on an address of its own, reached from another network namespace."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from runyard import Runyard, RunyardError
from tests.browser import complaints_of
from tests.conftest import inspected
from tests.system.running_yard import NOWHERE, RunningYard, prepared_folder
from tests.system.test_mlflow import QUIET

PASSWORD = "correct horse battery staple"
NAMESPACE, HERE, THERE = "runyard-test", "10.203.77.1", "10.203.77.2"
LINKS = f"""
ip netns add {NAMESPACE}
ip link add runyard-a type veth peer name runyard-b netns {NAMESPACE}
ip addr add {HERE}/30 dev runyard-a
ip link set runyard-a up
ip -n {NAMESPACE} addr add {THERE}/30 dev runyard-b
ip -n {NAMESPACE} link set runyard-b up
ip -n {NAMESPACE} link set lo up
"""


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A network of two machines: this one, and a namespace."""
    if shutil.which("ip") is None or os.getuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    subprocess.run(["ip", "netns", "del", NAMESPACE], stderr=subprocess.DEVNULL, check=False)
    done = subprocess.run(["sh", "-ec", LINKS], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine has no network namespaces: {done.stderr.strip()}")
    yield
    subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


class DistantYard(RunningYard):
    """`runyard up` on the other machine."""

    prefix = ("ip", "netns", "exec", NAMESPACE)

    def command(self, *words: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of the owner, on the other machine."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
        clean |= {"RUNYARD_DATA_DIR": str(self.folder / "data"), "RUNYARD_HOST": THERE, "RUNYARD_URL": self.address}
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "app.cli", *words],
            input=text,
            env=clean | DIRECT | environment,
            capture_output=True,
            text=True,
            timeout=240,
        )


DIRECT = {**NOWHERE, "no_proxy": f"127.0.0.1,{THERE}", "NO_PROXY": f"127.0.0.1,{THERE}"}


@pytest.fixture(scope="module")
def distant(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistantYard]:
    """A Runyard on the other machine, without anyone."""
    running = DistantYard(prepared_folder(inspected(tmp_path_factory)), "--host", THERE, **DIRECT)
    yield running
    running.stop()
    shutil.rmtree(running.folder, ignore_errors=True)


def status(url: str, method: str = "GET", host: str | None = None, **headers: str) -> int:
    """The status of an answer, without following redirects."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    request = urllib.request.Request(url, method=method, headers=headers | ({"host": host} if host else {}))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    try:
        with opener.open(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_team_comes_in_by_the_door_and_nobody_else(
    distant: DistantYard, browser: Browser, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in DIRECT.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path_factory.mktemp("people")
    monkeypatch.setenv("RUNYARD_CREDENTIALS", str(folder / "none.json"))
    address = distant.address
    assert re.fullmatch(rf"http://{re.escape(THERE)}:\d+", address)

    # Without a credential: nothing, from here and from the machine itself.
    for path in ("/api/v1/runs", "/api/v1/workers", "/api/2.0/mlflow/experiments/get?experiment_id=0"):
        assert status(address + path) == 401
    assert status(f"{address}/runs") == 303
    assert status(f"{address}/launch", "POST") == 303
    assert status(f"{address}/healthz") == 200
    assert status(f"{address}/healthz", host="rebound.example") == 421
    assert distant.command("ls", RUNYARD_DATA_DIR=str(folder)).returncode == 1
    assert distant.command("ls").stdout == "no runs\n"

    # The printed link creates the first administrator, in a real browser.
    (link,) = distant.until(lambda: re.findall(r"http://\S+/welcome\?code=\S+", distant.output.read_text()))
    with plain_page(browser) as page:
        page.goto(link)
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Repeat password").fill(PASSWORD)
        page.get_by_role("button", name="Create administrator").click()
        expect(page.get_by_role("link", name="ada")).to_be_visible()
        page.goto(f"{address}/admin")
        page.get_by_label("Name").fill("edsger")
        page.locator("form[action='/admin/people'] select").select_option("viewer")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Add person").click()
        expect(page.get_by_role("cell", name="edsger").first).to_be_visible()
        assert page.request.get(link).status == 410
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

        # A viewer reads, and has neither the buttons nor the right to launch, stop or delete.
        page.get_by_label("Name").fill("edsger")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="edsger")).to_be_visible()
        for path in ("/", "/runs", "/sweeps", "/datasets", "/architectures", "/queue"):
            page.goto(address + path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            expect(page.get_by_role("link", name="Launch")).to_have_count(0)
        assert page.request.get(f"{address}/launch").status == 403
        assert page.request.get(f"{address}/admin").status == 403

    member = json.loads(distant.command("user", "add", "grace", "--json", text=f"{PASSWORD}\n").stdout)
    assert member["role"] == "member"
    with Runyard(address, token="none") as stranger:
        secrets = {
            name: stranger.ask("POST", "/sign-in", {"name": name, "password": PASSWORD})["token"]
            for name in ("ada", "grace", "edsger")
        }
    with Runyard(address, token=secrets["grace"]) as grace, Runyard(address, token=secrets["edsger"]) as edsger:
        run = grace.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=1)
        assert run.data["created_by"] == "grace"
        assert edsger.run(run.id).data["created_by"] == "grace"
        for method, path in (("POST", "/runs"), ("POST", f"/runs/{run.id}/cancel"), ("DELETE", f"/runs/{run.id}")):
            with pytest.raises(RunyardError, match="a viewer may not") as refused:
                edsger.ask(method, path, {"family": "vit"} if path == "/runs" else None)
            assert refused.value.status == 403
        with pytest.raises(RunyardError, match="a viewer may not"):
            edsger.ask("GET", "/webhooks")
        token = grace.ask("POST", "/account/tokens", {"name": "script", "scope": "log", "days": 1})["secret"]
        run.wait()
        assert run.status == "succeeded"

    # A token of scope log logs, by an unmodified MLflow client, and does nothing else.
    logged = log_with_mlflow(address, MLFLOW_TRACKING_TOKEN=token)
    assert log_with_mlflow(address, MLFLOW_TRACKING_USERNAME="grace", MLFLOW_TRACKING_PASSWORD=PASSWORD) != logged
    with Runyard(address, token=token) as script:
        for method, path in (
            *(("GET", "/runs"), ("GET", f"/runs/{run.id}"), ("POST", "/runs"), ("DELETE", f"/runs/{logged}")),
            *(("POST", f"/runs/{logged}/cancel"), ("GET", "/users"), ("GET", "/account/tokens")),
        ):
            with pytest.raises(RunyardError, match="the token script may not"):
                script.ask(method, path, {"family": "vit"} if (method, path) == ("POST", "/runs") else None)
    with Runyard(address, token=secrets["grace"]) as grace:
        found = grace.run(logged)
        assert (found.status, found.data["created_by"]) == ("succeeded", "grace")

    # The command of a run logs too, with a token of its own.
    file = folder / "logs.py"
    file.write_text("import mlflow\nmlflow.log_metric('val/acc', 0.5)\n")
    done = distant.command("exec", "--wait", "--json", "--", sys.executable, str(file), **QUIET)
    executed = json.loads(done.stdout)
    assert executed["status"] == "succeeded", done.stdout + done.stderr

    # Signing out everywhere ends the command line's session as well.
    with Runyard(address, token=secrets["edsger"]) as edsger:
        assert edsger.ask("DELETE", "/account/sessions")["ended"] >= 2
        with pytest.raises(RunyardError, match="has ended"):
            edsger.ask("GET", "/whoami")

    # Ten wrong passwords are slowed.
    with Runyard(address, token="none") as stranger:
        statuses = [wrong_password(stranger) for _ in range(10)]
        assert statuses == [401] * 5 + [429] * 5

    events = json.loads(distant.command("audit", "--json", "-n", "1000").stdout)["events"]
    done_by = {(event["who"], event["action"]) for event in events}
    assert {("grace", "run.launch"), ("grace", "run.log"), ("this machine", "run.command")} <= done_by
    assert {event["address"] for event in events if event["who"] == "edsger"} == {HERE}


@contextmanager
def plain_page(browser: Browser) -> Iterator[Page]:
    """A page without TLS, of which Chromium says that it ignores one header; any other complaint fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    complaints = complaints_of(page)
    yield page
    context.close()
    assert [each for each in complaints if "Cross-Origin-Opener-Policy header has been ignored" not in each] == []


def wrong_password(stranger: Runyard) -> int:
    with pytest.raises(RunyardError) as refused:
        stranger.ask("POST", "/sign-in", {"name": "ada", "password": "wrong horse battery"})
    return refused.value.status


def log_with_mlflow(address: str, **credential: str) -> str:
    """Log a run with MLflow's client, in a process of its own; returns its ID."""
    script = (
        "import mlflow\n"
        "mlflow.set_experiment('people')\n"
        "with mlflow.start_run() as run:\n"
        "    mlflow.log_param('lr', 0.1)\n"
        "    mlflow.log_metric('val/acc', 0.9, step=1)\n"
        "    mlflow.log_text('notes', 'notes.txt')\n"
        "print(run.info.run_id)\n"
    )
    environment = {**os.environ, **DIRECT, **QUIET, "MLFLOW_TRACKING_URI": address} | credential
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()[-1]
