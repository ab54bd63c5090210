"""`runyard join` and `runyard worker-token`: workers on other machines."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote, urlencode, urlsplit

import typer

from app.cli.client import Url, connected
from app.cli.output import AsJson, local_time, print_json, print_table
from app.cli.serve import DataDir, Slots, check_data_folder
from app.cli.settings import read_settings
from app.contract.joining import JoinAnswer, JoinRequest, read_token

worker_token = typer.Typer(help="Create, list and delete tokens for `runyard join`.", no_args_is_help=True)

JOINED: Final = "join.json"
"""File in the data folder of a machine that has joined, which only its owner can read."""


def join(
    token: Annotated[
        str | None,
        typer.Argument(metavar="TOKEN", help="From an administrator; not needed on a machine that has joined before."),
    ] = None,
    slots: Slots = None,
    data_dir: DataDir = None,
) -> None:
    """Train runs of a server on another machine. It tells this one where Redis and the artifact store are."""
    settings = read_settings(slots=slots, data_dir=data_dir)
    check_data_folder(settings)
    folder = settings.data_dir.absolute()
    try:
        if token is not None:
            _write(folder / JOINED, _ask(token).model_dump_json())
        environment = _environment(folder)
    except ValueError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    # What the user has set here counts, but for the addresses of what a token stands for.
    command = [sys.executable, "-m", "worker"]
    os.execve(sys.executable, command, environment | dict(os.environ) | _fixed(environment))


def _ask(token: str) -> JoinAnswer:
    """Use the token. Raises ValueError with a sentence."""
    from _runyard import __version__
    from app.contract.protocol import PROTOCOL
    from runyard import Runyard, RunyardError

    url, secret = read_token(token)
    request = JoinRequest(secret=secret, host=socket.gethostname(), version=__version__, protocol=PROTOCOL)
    try:
        with Runyard(url, token="none") as server:
            return JoinAnswer.model_validate(server.ask("POST", "/join", request.model_dump()))
    except RunyardError as error:
        raise ValueError(str(error)) from error


def _environment(folder: Path) -> dict[str, str]:
    """The variables of a machine that has joined, with its certificates and key as files. Raises ValueError."""
    from app.contract.shared_files import KEY_NAME

    try:
        answer = JoinAnswer.model_validate(json.loads((folder / JOINED).read_bytes()))
    except FileNotFoundError:
        raise ValueError(
            "this machine has not joined a server; an administrator creates the command for it on the page"
            " Administration or with `runyard worker-token add`"
        ) from None
    environment = dict(answer.environment)
    if answer.redis_certificate:
        path = _write(folder / "redis-ca.pem", answer.redis_certificate)
        redis = environment["RUNYARD_REDIS_URL"]
        joint = "&" if urlsplit(redis).query else "?"
        environment["RUNYARD_REDIS_URL"] = f"{redis}{joint}{urlencode({'ssl_ca_certs': str(path)})}"
    if answer.store_certificate:
        environment["AWS_CA_BUNDLE"] = str(_write(folder / "store-ca.pem", answer.store_certificate))
    if answer.architecture_key:
        _write(folder / KEY_NAME, answer.architecture_key)
    return environment | {"RUNYARD_DATA_DIR": str(folder)}


def _fixed(environment: dict[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in ("RUNYARD_REDIS_URL", "RUNYARD_ARTIFACT_URL", "RUNYARD_DATA_DIR")}


def _write(path: Path, content: str) -> Path:
    """Write a file that only its owner can read."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    return path


# Tokens ---------------------------------------------------------------------------------------------------------------


@worker_token.command("add")
def add_token(
    hours: Annotated[int, typer.Option("--hours", min=1, metavar="HOURS", help="How long machines can join.")] = 1,
    uses: Annotated[
        int, typer.Option("--uses", min=0, metavar="COUNT", help="How many machines can join; 0: any number.")
    ] = 1,
    server_url: Annotated[
        str, typer.Option("--server-url", metavar="URL", help="Address of the server for other machines.")
    ] = "",
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Create a token and print the command for the other machine; it is never shown again."""
    with connected(url) as yard:
        created = yard.ask("POST", "/worker-tokens", {"hours": hours, "uses": uses or None, "url": server_url})
        if as_json:
            print_json(created)
        else:
            print(created["command"])


@worker_token.command("ls")
def list_tokens(as_json: AsJson = False, url: Url = None) -> None:
    """List tokens, newest first."""
    with connected(url) as yard:
        found = yard.ask("GET", "/worker-tokens")
        if as_json:
            print_json(found)
            return
        columns = ("id", "created by", "expires", "uses left", "last machine", "last used")
        rows = [
            (
                each["id"],
                each["created_by"],
                local_time(each["expires"]),
                "any" if each["uses_left"] is None else str(each["uses_left"]),
                each["host"],
                local_time(each["used"]),
            )
            for each in found["tokens"]
        ]
        print_table(columns, rows)


@worker_token.command("rm")
def remove_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="ID of the token, from `runyard worker-token ls`.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Delete a token. Machines that joined with it go on working."""
    with connected(url) as yard:
        yard.ask("DELETE", f"/worker-tokens/{quote(token_id, safe='')}")
        if as_json:
            print_json({"id": token_id})
        else:
            print(f"token {token_id} deleted")
