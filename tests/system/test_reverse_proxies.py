"""Runyard behind nginx and Caddy, as docs/deployment.md configures them: over TLS, with real processes."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import complaints_of
from tests.conftest import inspected
from tests.people import PASSWORD
from tests.system.reverse_proxies import (
    CLIENT,
    CONFIGURATIONS,
    NAME,
    Visitor,
    documented_header,
    documented_settings,
    find_proxy,
    proxying,
)
from tests.system.running_yard import OFFLINE, ROOT, RunningYard, prepared_folder

FORGED = {"x_forwarded_for": "6.6.6.6, 127.0.0.1", "x_real_ip": "6.6.6.6", "forwarded": "for=6.6.6.6"}
MIB = 2**20
LARGE = 101 * MIB
AT_THE_PROXY = "the password of the proxy"

kinds = pytest.mark.parametrize("kind", sorted(CONFIGURATIONS))


class ProxiedYard(RunningYard):
    """`runyard up` behind a proxy: the address that it prints for people is the proxy's."""

    def _address(self) -> str | None:
        assert self.process.poll() is None, self.output.read_text()
        found = re.search(r"RUNYARD_URL=(http://127\.0\.0\.1:\d+)", self.output.read_text())
        return found[1] if found else None


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningYard]:
    """A Runyard with the documented settings, in which proxies may also name people: an administrator and a member."""
    settings = documented_settings() | documented_header()
    running = ProxiedYard(prepared_folder(inspected(tmp_path_factory)), "--slots", "1", **settings)
    try:
        assert f"Open https://{NAME} " in running.output.read_text()
        command(running, "user", "add", "ada", text=f"{PASSWORD}\n")
        command(running, "user", "add", "grace", "--no-password")
        yield running
    finally:
        running.stop()
        shutil.rmtree(running.folder, ignore_errors=True)


def command(proxied: RunningYard, *words: str, text: str = "") -> str:
    """What a command of the owner of the data folder prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    environment |= {**OFFLINE, "RUNYARD_DATA_DIR": str(proxied.folder / "data"), "RUNYARD_URL": proxied.address}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *words],
        input=text,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Path:
    """Where a proxy keeps what it needs; the test is left out, and says so, where there is none."""
    if find_proxy(kind) is None:
        pytest.skip(f"{kind} is not installed, so its documented configuration was not run")
    return tmp_path_factory.mktemp(kind) / "proxy"


def sign_in(visitor: Visitor) -> list[str]:
    """Sign in as the administrator; returns the cookies that were set."""
    answer = visitor.ask(
        "POST", "/sign-in", f"name=ada&password={PASSWORD.replace(' ', '+')}", content_type=FORM, **FORGED
    )
    assert (answer.status, answer.headers["location"]) == (303, "/"), answer.body
    return answer.cookies


FORM = "application/x-www-form-urlencoded"


@kinds
def test_the_documented_configuration_lets_in_whom_it_should_and_nobody_else(
    kind: str, folder: Path, proxied: RunningYard
) -> None:
    with proxying(kind, folder, proxied.address) as port:
        visitor = Visitor(port, folder / "yard.pem")
        ours = f"https://{visitor.name}"

        # Nothing without a credential; the sign-in sets a cookie that only this host gets, over TLS only.
        assert visitor.ask("GET", "/api/v1/runs").status == 401
        assert visitor.ask("GET", "/runs").headers["location"] == "/sign-in?next=%2Fruns"
        (cookie,) = sign_in(visitor)
        assert re.match(
            r"__Host-runyard-session-\d+=[\w-]{43}; HttpOnly; Max-Age=\d+; Path=/; SameSite=lax; Secure$", cookie
        )
        assert visitor.ask("GET", "/api/v1/whoami").json()["name"] == "ada"

        # Who sends a request is the client, whatever it says of itself.
        events = json.loads(command(proxied, "audit", "--action", "sign-in", "-n", "1", "--json"))["events"]
        assert [(event["who"], event["address"]) for event in events] == [("ada", CLIENT)]

        # Other sites change nothing, and other names are no way in.
        for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
            refused = visitor.ask("POST", "/api/v1/queue/pause", **headers)
            assert refused.status == 403, refused.body
            assert b"own pages" in refused.body
        assert visitor.ask("POST", "/api/v1/queue/pause", origin=ours, sec_fetch_site="same-origin").status < 300
        assert visitor.ask("POST", "/api/v1/queue/resume", origin=ours).status < 300
        visitor.name = "evil.example"
        rebound = visitor.ask("GET", "/api/v1/whoami")
        assert b"ada" not in rebound.body
        # Caddy answers names that it has no site for by itself, with nothing.
        assert rebound.status == 421 or (kind, rebound.status, rebound.body) == ("caddy", 200, b"")


@kinds
def test_points_arrive_while_the_stream_stays_open(kind: str, folder: Path, proxied: RunningYard) -> None:
    with proxying(kind, folder, proxied.address) as port:
        visitor = Visitor(port, folder / "yard.pem")
        sign_in(visitor)
        run = new_run(visitor)
        with closing(visitor.connect()) as connection:
            stream = visitor.send("GET", f"/api/v1/runs/{run}/events", None, connection)
            assert stream.status == 200
            for step in range(3):
                point = {
                    "run_id": run,
                    "key": "loss",
                    "value": 0.5 + step,
                    "timestamp": 1_790_000_000_000 + step,
                    "step": step,
                }
                assert visitor.ask("POST", "/api/2.0/mlflow/runs/log-metric", point).status == 200
                # Each is here before the next is sent: a proxy that collected them would keep this waiting.
                assert read_point(stream)[-1] == 0.5 + step
        end_run(visitor, run)


def new_run(visitor: Visitor) -> str:
    body = {"experiment_id": "0", "run_name": "behind a proxy"}
    return str(visitor.ask("POST", "/api/2.0/mlflow/runs/create", body).json()["run"]["info"]["run_id"])


def end_run(visitor: Visitor, run: str) -> None:
    assert visitor.ask("POST", "/api/2.0/mlflow/runs/update", {"run_id": run, "status": "FINISHED"}).status == 200


def read_point(stream: http.client.HTTPResponse) -> list[float]:
    """The values of the next metrics event."""
    event = ""
    while line := stream.readline().decode():
        if line.startswith("event:"):
            event = line.removeprefix("event:").strip()
        elif line.startswith("data:") and event == "metrics":
            values: list[float] = json.loads(line.removeprefix("data:"))["loss"]["value"]
            return values
    raise AssertionError("the stream has ended")


@kinds
def test_more_than_a_hundred_megabytes_arrive_as_they_were_sent(kind: str, folder: Path, proxied: RunningYard) -> None:
    with proxying(kind, folder, proxied.address) as port:
        visitor = Visitor(port, folder / "yard.pem")
        sign_in(visitor)
        run = new_run(visitor)
        part = os.urandom(MIB)

        def parts() -> Iterator[bytes]:
            for number in range(LARGE // MIB):
                yield number.to_bytes(4, "big") + part[4:]

        path = f"/api/v1/runs/{run}/files/model.bin"
        assert visitor.ask("PUT", path, parts(), content_length=str(LARGE)).status == 204
        expected = hashlib.sha256()
        for each in parts():
            expected.update(each)
        connection = visitor.connect()
        found, size = hashlib.sha256(), 0
        answer = visitor.send("GET", path, None, connection)
        while chunk := answer.read(MIB):
            found.update(chunk)
            size += len(chunk)
        connection.close()
        assert (size, found.digest()) == (LARGE, expected.digest())
        end_run(visitor, run)


@kinds
def test_a_browser_signs_in_through_the_proxy(kind: str, folder: Path, proxied: RunningYard, browser: Browser) -> None:
    with proxying(kind, folder, proxied.address) as port:
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1440, "height": 900})
        page = context.new_page()
        complaints = complaints_of(page)
        page.goto(f"https://{NAME}:{port}/runs")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page).to_have_url(f"https://{NAME}:{port}/runs")
        expect(page.get_by_role("contentinfo").get_by_role("link", name="ada")).to_be_visible()
        (cookie,) = context.cookies()
        assert (cookie["name"].startswith("__Host-runyard-session-"), cookie["secure"], cookie["httpOnly"]) == (
            True,
        ) * 3
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        context.close()
        assert complaints == []


@kinds
def test_the_proxy_names_whom_it_has_signed_in_and_clients_name_nobody(
    kind: str, folder: Path, proxied: RunningYard
) -> None:
    header = documented_header()["RUNYARD_PROXY_USER_HEADER"]
    with proxying(kind, folder, proxied.address, ("grace", AT_THE_PROXY)) as port:
        visitor = Visitor(port, folder / "yard.pem")
        known = "Basic " + base64.b64encode(f"grace:{AT_THE_PROXY}".encode()).decode()
        assert visitor.ask("GET", "/api/v1/whoami", **{header: "ada"}).status == 401
        me = visitor.ask("GET", "/api/v1/whoami", authorization=known).json()
        assert (me["name"], me["role"], me["credential"]) == ("grace", "member", "proxy")
        for name in (header, header.lower(), header.upper(), header.replace("-", "_")):
            connection = visitor.connect()
            # Both spellings, as a client that wants to be the administrator could send them.
            connection.putrequest("GET", "/api/v1/whoami", skip_host=True)
            for sent in (("host", visitor.name), ("authorization", known), (name, "ada"), (name, "ada")):
                connection.putheader(*sent)
            connection.endheaders()
            assert json.loads(connection.getresponse().read())["name"] == "grace"
            connection.close()
        assert visitor.ask("GET", "/admin", authorization=known, **{header: "ada"}).status == 403


def test_past_the_proxy_the_header_means_nothing(proxied: RunningYard) -> None:
    header = documented_header()["RUNYARD_PROXY_USER_HEADER"]
    port = int(proxied.address.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(CLIENT, 0))
    connection.request("GET", "/api/v1/whoami", headers={header: "ada", "x-forwarded-for": "127.0.0.1"})
    assert connection.getresponse().status == 401
    connection.close()
