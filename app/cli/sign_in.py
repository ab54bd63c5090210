"""`runyard login`, `logout` and `whoami`: who the commands of this user act for."""

from __future__ import annotations

import getpass
import socket
import sys
from typing import Annotated

import typer

from app.cli.client import Url, connected, server_address
from app.cli.output import AsJson, print_fields, print_json
from app.cli.settings import read_settings

Server = Annotated[
    str | None,
    typer.Argument(metavar="URL", envvar="RUNYARD_URL", help="Server URL (default: http://RUNYARD_HOST:RUNYARD_PORT)."),
]


def read_password(prompt: str, twice: bool = False) -> str:
    """Ask for a password, or read a line of standard input without a terminal. Raises ValueError."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise ValueError("there is no terminal to ask for the password; write it to standard input")
        return password
    password = getpass.getpass(f"{prompt}: ")
    if twice and getpass.getpass(f"{prompt}, once more: ") != password:
        raise ValueError("the passwords differ")
    return password


def login(
    server: Server = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the person (default: asked for).")
    ] = None,
    token: Annotated[bool, typer.Option("--token", help="Store an API token instead of signing in.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sign in to a server and store the session; commands and Python programs of this user then act for the person."""
    from runyard import Runyard, credentials_file, read_credentials

    with connected(server) as yard:
        # Neither the key in the data folder nor an earlier sign-in counts here.
        url = yard.url
        if token:
            secret = read_password("Token")
        else:
            if name is None:
                name = typer.prompt("Name") if sys.stdin.isatty() else sys.stdin.readline().strip()
            body = {"name": name, "password": read_password("Password"), "client": f"runyard on {socket.gethostname()}"}
            with Runyard(url, token="none") as stranger:
                secret = stranger.ask("POST", "/sign-in", body)["token"]
        with Runyard(url, token=secret) as signed_in:
            me = signed_in.ask("GET", "/whoami")
        if not me["name"]:
            raise ValueError("nobody has to sign in to this server")
        from app.contract.client_credentials import write_credentials

        write_credentials(credentials_file(), read_credentials() | {url: secret})
    if as_json:
        print_json(me | {"url": url})
    else:
        print(f"Signed in to {url} as {me['name']} ({me['role']})")
        if url != server_address(read_settings()).rstrip("/"):
            print(f"Commands need: export RUNYARD_URL={url}")


def logout(server: Server = None, as_json: AsJson = False) -> None:
    """End the stored session and forget it."""
    from app.contract.client_credentials import write_credentials
    from runyard import Runyard, RunyardError, credentials_file, read_credentials

    with connected(server) as yard:
        stored = read_credentials()
        secret = stored.pop(yard.url, None)
        if secret is None:
            raise ValueError(f"not signed in to {yard.url}")
        try:
            with Runyard(yard.url, token=secret) as signed_in:
                signed_in.ask("POST", "/sign-out")
        except RunyardError as error:
            # An API token has no session, and a session may have ended before.
            if error.status not in (401, 403, 409):
                raise
        write_credentials(credentials_file(), stored)
        if as_json:
            print_json({"url": yard.url})
        else:
            print(f"Signed out of {yard.url}")


def whoami(as_json: AsJson = False, url: Url = None) -> None:
    """Show who the server takes this user for, and what they may do."""
    with connected(url) as yard:
        me = yard.ask("GET", "/whoami")
        if as_json:
            print_json(me)
        else:
            print_fields({"url": yard.url, **me})
