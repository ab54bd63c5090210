"""`runyard user`, `runyard token` and `runyard audit`: people, their API tokens, and who did what."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli.client import Url, connected
from app.cli.output import AsJson, local_time, print_json, print_table
from app.cli.sign_in import read_password

user = typer.Typer(help="Add, list and change people.", no_args_is_help=True)
token = typer.Typer(help="Create, list and delete API tokens.", no_args_is_help=True)

Person = Annotated[str, typer.Argument(metavar="NAME", help="Name of the person.")]
Role = Annotated[
    str | None, typer.Option("--role", metavar="ROLE", help="viewer, member or administrator (default: member).")
]


def _path(name: str, rest: str = "") -> str:
    return f"/users/{quote(name, safe='')}{rest}"


@user.command("add")
def add_user(
    name: Person,
    role: Role = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Only tokens, a provider or a proxy sign this account in.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Add a person and ask for the password; the first is an administrator. From then on, everyone has to sign in."""
    with connected(url) as yard:
        password = None if no_password else read_password(f"Password of {name}", twice=True)
        added = yard.ask("POST", "/users", {"name": name, "role": role, "password": password})
        _print(added, as_json, f"{added['name']} is {_a(added['role'])}")


@user.command("ls")
def list_users(as_json: AsJson = False, url: Url = None) -> None:
    """List people."""
    with connected(url) as yard:
        found = yard.ask("GET", "/users")
        if as_json:
            print_json(found)
            return
        rows = [
            (
                each["name"],
                each["role"],
                _state(each),
                local_time(each["created"]),
                _share(each["active"], each["most_running"], found["most_running"]),
                _share(each["queued"], each["most_queued"], found["most_queued"]),
            )
            for each in found["users"]
        ]
        print_table(("name", "role", "state", "added", "active", "queued"), rows)


def _share(number: int, own: int | None, default: int) -> str:
    most = default if own is None else own
    return f"{number} of {most}" if most else str(number)


@user.command("limits")
def change_limits(
    name: Person,
    most_running: Annotated[
        str,
        typer.Option(
            "--most-running",
            metavar="NUMBER",
            help="How many runs are active at once; none: any number, default: that of the settings.",
        ),
    ] = "",
    most_queued: Annotated[
        str, typer.Option("--most-queued", metavar="NUMBER", help="How many runs are queued at once, likewise.")
    ] = "",
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Limit how many runs of a person are active and queued at once."""
    chosen = {"most_running": most_running, "most_queued": most_queued}
    values = {field: _read_limit(field, value) for field, value in chosen.items() if value}
    if not values:
        raise typer.BadParameter("needs --most-running, --most-queued or both")
    with connected(url) as yard:
        changed = yard.ask("PATCH", _path(name), values)
        active, queued = (_most(changed[field]) for field in chosen)
        _print(changed, as_json, f"{changed['name']}: {active} active, {queued} queued")


def _read_limit(field: str, typed: str) -> int | None:
    if typed == "default":
        return None
    if typed == "none":
        return 0
    if typed.isascii() and typed.isdecimal() and 0 < int(typed[:10]) < 10**9:
        return int(typed)
    raise typer.BadParameter(
        f"must be a whole number from 1, none or default, not '{typed}'", param_hint=f"--{field.replace('_', '-')}"
    )


def _most(limit: int | None) -> str:
    return "the default" if limit is None else f"at most {limit:,}" if limit else "any number"


@user.command("role")
def change_role(
    name: Person,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, member or administrator.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Change a person's role."""
    with connected(url) as yard:
        changed = yard.ask("PATCH", _path(name), {"role": role})
        _print(changed, as_json, f"{changed['name']} is {_a(changed['role'])}")


@user.command("disable")
def disable(
    name: Person,
    undo: Annotated[bool, typer.Option("--undo", help="Enable the person again.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Disable a person: sessions end, and neither password nor tokens work."""
    with connected(url) as yard:
        changed = yard.ask("PATCH", _path(name), {"disabled": not undo})
        _print(changed, as_json, f"{changed['name']} is {'enabled' if undo else 'disabled'}")


@user.command("password")
def set_password(name: Person, as_json: AsJson = False, url: Url = None) -> None:
    """Set a new password; the person's sessions end."""
    with connected(url) as yard:
        changed = yard.ask("PATCH", _path(name), {"password": read_password(f"New password of {name}", twice=True)})
        _print(changed, as_json, f"password of {changed['name']} changed")


@user.command("link")
def link(
    name: Person,
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", help="The claim sub of the OpenID Connect provider.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Unlink the person again; their sessions end.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Say who a person is at the OpenID Connect provider, so that it can sign them in."""
    if undo == (subject is not None):
        raise typer.BadParameter("give either a subject or --undo")
    with connected(url) as yard:
        changed = yard.ask("PATCH", _path(name), {"subject": subject or ""})
        _print(changed, as_json, f"{changed['name']} is {'unlinked' if undo else f'linked to {subject}'}")


@user.command("rm")
def remove_user(name: Person, as_json: AsJson = False, url: Url = None) -> None:
    """Remove a person: nothing signs in as them any more; runs and the audit log keep the name."""
    with connected(url) as yard:
        yard.ask("DELETE", _path(name))
        _print({"name": name}, as_json, f"{name} removed; undo with `runyard user restore {name}`")


@user.command("restore")
def restore_user(name: Person, as_json: AsJson = False, url: Url = None) -> None:
    """Restore a person who was removed, with password, tokens and limits."""
    with connected(url) as yard:
        restored = yard.ask("POST", _path(name, "/restore"))
        _print(restored, as_json, f"{restored['name']} is {_a(restored['role'])}")


# Tokens ---------------------------------------------------------------------------------------------------------------

Of = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Of this person; needs an administrator.")]


@token.command("add")
def add_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: Annotated[str, typer.Option("--scope", help="read, log, launch or admin.")] = "launch",
    days: Annotated[int, typer.Option("--days", min=0, metavar="DAYS", help="Days until it expires; 0: never.")] = 90,
    of: Of = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Create a token and print it; it is never shown again."""
    with connected(url) as yard:
        path = "/account/tokens" if of is None else _path(of, "/tokens")
        created = yard.ask("POST", path, {"name": name, "scope": scope, "days": days or None})
        _print(created, as_json, created["secret"])


@token.command("ls")
def list_tokens(
    everyone: Annotated[bool, typer.Option("--all", help="Of all people; needs an administrator.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List one's own tokens, newest first."""
    with connected(url) as yard:
        found = yard.ask("GET", "/tokens" if everyone else "/account/tokens")
        if as_json:
            print_json(found)
            return
        columns = ("id", "user", "name", "scope", "begins with", "expires", "last used")
        rows = [
            (
                *(each[name] for name in ("id", "user", "name", "scope", "hint")),
                local_time(each["expires"]),
                local_time(each["used"]),
            )
            for each in found["tokens"]
        ]
        print_table(columns, rows)


@token.command("rm")
def remove_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="ID of the token, from `runyard token ls`.")],
    anyones: Annotated[bool, typer.Option("--any", help="Of any person; needs an administrator.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Delete a token."""
    with connected(url) as yard:
        yard.ask("DELETE", f"{'/tokens' if anyones else '/account/tokens'}/{quote(token_id, safe='')}")
        _print({"id": token_id}, as_json, f"token {token_id} deleted")


# Audit log ------------------------------------------------------------------------------------------------------------


def audit(
    who: Annotated[str, typer.Option("--who", metavar="NAME", help="Only what this person did.")] = "",
    action: Annotated[
        str, typer.Option("--action", metavar="ACTION", help="Only this action, or those that begin so: run.")
    ] = "",
    target: Annotated[
        str, typer.Option("--target", metavar="ID", help="Only what was done to this run, person, …")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Maximum number of events.")] = 100,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List who did what, newest first."""
    with connected(url) as yard:
        found = yard.ask("GET", "/audit", who=who, action=action, target=target, limit=limit)
        if as_json:
            print_json(found)
            return
        rows = [
            (
                local_time(each["time"]),
                *(each[name] for name in ("who", "action", "target", "credential", "address")),
                ", ".join(f"{name} {value}" for name, value in each["detail"].items()),
            )
            for each in found["events"]
        ]
        print_table(("time", "who", "action", "target", "by", "from", "detail"), rows)


def _state(person: dict[str, Any]) -> str:
    if person["disabled"]:
        return "disabled"
    return "enabled" if person["has_password"] or person["subject"] else "tokens only"


def _a(role: str) -> str:
    return f"an {role}" if role == "administrator" else f"a {role}"


def _print(value: Any, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(value)
    else:
        print(sentence)
