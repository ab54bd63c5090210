"""`runyard user`, `token`, `login`, `logout`, `whoami` and `audit`, with and without the key in the data folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from app.cli import cli
from app.contract.command_key import ensure_key
from app.contract.settings import Settings
from app.services.openid_provider import OpenIDProvider
from runyard import Runyard, RunyardError
from tests.app.cli.conftest import Command
from tests.conftest import Runs
from tests.people import NAMES, PASSWORD, people, quick_passwords


@pytest.fixture(autouse=True)
def file(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `runyard login` stores its sessions."""
    path = tmp_path / "config" / "credentials.json"
    monkeypatch.setenv("RUNYARD_CREDENTIALS", str(path))
    return path


@pytest.fixture
def owner(server: FastAPI, url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commands of who owns the data folder; returns the server's parts."""
    parts = quick_passwords(server.state.parts)
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(parts.settings.data_dir))
    return parts


def typed(*words: str, text: str) -> Result:
    return CliRunner().invoke(cli, words, input=text)


def test_the_owner_of_the_data_folder_adds_the_first_person_and_needs_no_sign_in(
    owner: Any, runyard: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    added = typed("user", "add", "ada", text=f"{PASSWORD}\n")
    assert (added.exit_code, added.stdout) == (0, "ada is an administrator\n"), added.output
    assert runyard("ls").exit_code == 0
    me = json.loads(runyard("whoami", "--json").stdout)
    assert (me["name"], me["credential"]) == (None, "key in the data folder")
    assert typed("user", "add", "grace", "--json", text=f"{PASSWORD}\n").stdout.startswith('{"name": "grace"')
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(tmp_path / "none"))
    refused = runyard("ls")
    assert refused.exit_code == 1
    assert "runyard login" in refused.stderr
    ensure_key(tmp_path / "other")
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(tmp_path / "other"))
    refused = runyard("ls")
    assert refused.exit_code == 1
    assert "not signed with the key" in refused.stderr


def test_people_are_listed_changed_and_removed(owner: Any, runyard: Command) -> None:
    typed("user", "add", "ada", text=f"{PASSWORD}\n")
    typed("user", "add", "grace", "--role", "viewer", text=f"{PASSWORD}\n")
    assert runyard("user", "add", "ci", "--no-password").stdout == "ci is a member\n"
    assert runyard("user", "role", "grace", "member").output == "grace is a member\n"
    assert runyard("user", "disable", "grace").stdout == "grace is disabled\n"
    rows = {row.split()[0]: row.split()[1:3] for row in runyard("user", "ls").stdout.splitlines()[2:]}
    assert rows == {"ada": ["administrator", "enabled"], "ci": ["member", "tokens"], "grace": ["member", "disabled"]}
    assert runyard("user", "disable", "grace", "--undo").stdout == "grace is enabled\n"
    assert typed("user", "password", "grace", text="another horse battery\n").stdout == "password of grace changed\n"
    assert runyard("user", "rm", "grace").stdout == "grace removed; undo with `runyard user restore grace`\n"
    assert runyard("user", "restore", "grace").stdout == "grace is a member\n"
    assert runyard("user", "restore", "grace").exit_code == 1
    assert runyard("user", "rm", "grace").exit_code == 0
    refused = runyard("user", "rm", "ada")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "runyard: this is the last administrator; give somebody else that role first\n",
    )
    events = json.loads(runyard("audit", "--action", "person.", "--json").stdout)["events"]
    assert {event["who"] for event in events} == {"this machine"}
    assert [event["action"] for event in events][:4] == [
        "person.remove",
        "person.restore",
        "person.remove",
        "person.password",
    ]


def test_limits_of_a_person_are_set_and_listed(owner: Any, runyard: Command) -> None:
    typed("user", "add", "ada", text=f"{PASSWORD}\n")
    set_to = "ada: at most 2 active, any number queued\n"
    assert runyard("user", "limits", "ada", "--most-running", "2", "--most-queued", "none").stdout == set_to
    assert "0 of 2" in runyard("user", "ls").stdout
    unset = runyard("user", "limits", "ada", "--most-running", "default")
    assert unset.stdout == "ada: the default active, any number queued\n"
    for wrong in (["--most-running", "0"], ["--most-queued", "many"], []):
        assert runyard("user", "limits", "ada", *wrong).exit_code == 2


def test_the_doctor_asks_the_server(owner: Any, runyard: Command) -> None:
    asked = runyard("doctor", "--server")
    assert asked.exit_code == 1, asked.output
    assert "fail  Recorder: no recorder has ever read what workers report" in asked.stdout
    assert "Migration 00" in asked.stdout
    assert json.loads(runyard("doctor", "--server", "--json").stdout)["versions"]["Python"]


def test_a_person_is_linked_to_a_provider(owner: Any, runyard: Command) -> None:
    typed("user", "add", "ada", text=f"{PASSWORD}\n")
    runyard("user", "add", "grace", "--no-password")
    refused = runyard("user", "link", "grace", "s-1")
    assert refused.stderr == "runyard: this Runyard has no OpenID Connect provider; set RUNYARD_OIDC_ISSUER\n"
    owner.provider = OpenIDProvider(Settings(oidc_issuer="https://login.example.org", oidc_client_id="yard"))
    assert runyard("user", "link", "grace", "s-1").stdout == "grace is linked to s-1\n"
    assert [row.split()[2] for row in runyard("user", "ls").stdout.splitlines()[2:]] == ["enabled", "enabled"]
    assert runyard("user", "link", "grace", "--undo").stdout == "grace is unlinked\n"
    for words in (("grace",), ("grace", "s-1", "--undo")):
        assert runyard("user", "link", *words).exit_code == 2


def test_someone_signs_in_acts_and_signs_out(
    server: FastAPI, url: str, runyard: Command, runs: Runs, file: Path
) -> None:
    people(server)
    run = runs.add()
    wrong = typed("login", "--name", "grace", text="wrong horse battery\n")
    assert (wrong.exit_code, wrong.stderr.splitlines()[0]) == (1, "runyard: name or password is wrong")
    assert not file.exists()
    done = typed("login", text=f"grace\n{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"Signed in to {url} as grace (member)\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text()
    assert runyard("cancel", run).exit_code == 0
    assert runyard("user", "ls").stderr == "runyard: a member may not do this: it needs an administrator\n"
    # A program of this user acts for the same person.
    with Runyard(url) as yard:
        assert yard.ask("GET", "/whoami")["name"] == "grace"
    secret = json.loads(file.read_text())[url]
    assert runyard("logout").stdout == f"Signed out of {url}\n"
    assert json.loads(file.read_text()) == {}
    with Runyard(url, token=secret) as yard, pytest.raises(RunyardError, match="has ended"):
        yard.ask("GET", "/whoami")
    assert runyard("logout").exit_code == 2


def test_a_token_is_printed_once_and_works_everywhere(
    server: FastAPI, url: str, runyard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(server)
    typed("login", "--name", NAMES["member"], text=f"{PASSWORD}\n")
    token = runyard("token", "add", "laptop", "--scope", "read", "--days", "7").stdout.strip()
    assert token.startswith("ry_")
    listed = json.loads(runyard("token", "ls", "--json").stdout)["tokens"]
    assert [(each["name"], each["scope"], each["hint"]) for each in listed] == [("laptop", "read", token[:8])]
    assert "laptop" in runyard("token", "ls").stdout
    assert runyard("token", "add", "x", "--scope", "admin").stderr.startswith("runyard: a token of a member cannot")
    monkeypatch.setenv("RUNYARD_TOKEN", token)
    assert json.loads(runyard("whoami", "--json").stdout)["credential"] == "token laptop"
    assert runyard("token", "ls").stderr.startswith("runyard: the token laptop may not change an account")
    monkeypatch.delenv("RUNYARD_TOKEN")
    assert runyard("token", "rm", listed[0]["id"]).stdout == f"token {listed[0]['id']} deleted\n"
    monkeypatch.setenv("RUNYARD_TOKEN", token)
    assert runyard("ls").stderr.startswith("runyard: the token is not valid")


def test_a_token_can_be_stored_in_place_of_a_session(server: FastAPI, url: str, runyard: Command, file: Path) -> None:
    parts = people(server)
    from tests.people import bearer

    token = bearer(parts, "grace", "log")["authorization"].removeprefix("Bearer ")
    assert typed("login", "--token", text=f"{token}\n").exit_code == 0
    assert json.loads(file.read_text()) == {url: token}
    assert runyard("logout").exit_code == 0
    assert json.loads(file.read_text()) == {}


def test_a_file_that_others_can_read_is_refused(server: FastAPI, url: str, runyard: Command, file: Path) -> None:
    people(server)
    typed("login", "--name", "grace", text=f"{PASSWORD}\n")
    file.chmod(0o644)
    refused = runyard("ls")
    assert (refused.exit_code, refused.stderr) == (1, f"runyard: {file} must be readable by you alone (chmod 600)\n")
    file.chmod(0o600)
    file.write_text("[]")
    assert "is damaged" in runyard("ls").stderr


def test_where_nobody_signs_in_there_is_nothing_to_store(url: str, runyard: Command, file: Path) -> None:
    refused = typed("login", "--token", text="ry_x\n")
    assert (refused.exit_code, refused.stderr) == (2, "runyard: nobody has to sign in to this server\n")
    assert not file.exists()
    assert runyard("whoami").exit_code == 0


def test_the_key_is_only_for_servers_of_this_machine(owner: Any) -> None:
    from app.cli.local_key import local_auth

    settings = owner.settings
    ensure_key(settings.data_dir)
    assert local_auth("http://localhost:8000", settings) is not None
    assert local_auth("http://[::1]:8000", settings) is not None
    assert local_auth("https://yard.example", settings) is None
    assert local_auth("http://192.0.2.7:8000", settings) is None
    assert local_auth("http://192.0.2.7:8000", settings.model_copy(update={"host": "192.0.2.7"})) is not None
