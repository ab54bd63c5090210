"""Who may do what: roles of people, scopes of API tokens, and the permissions that each gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

Role = Literal["viewer", "member", "administrator"]
Scope = Literal["read", "log", "launch", "admin"]
Permission = Literal["read", "log", "log-read", "launch", "admin", "account"]
"""``log-read``: what a program must read while it logs, such as its own run. ``account``: one's own password, sessions
and tokens."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

_VIEWER: Final[frozenset[Permission]] = frozenset({"read", "log-read"})
_MEMBER: Final[frozenset[Permission]] = _VIEWER | {"log", "launch"}
_ADMINISTRATOR: Final[frozenset[Permission]] = _MEMBER | {"admin"}

ROLE_PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    "viewer": _VIEWER | {"account"},
    "member": _MEMBER | {"account"},
    "administrator": _ADMINISTRATOR | {"account"},
}
SCOPE_PERMISSIONS: Final[Mapping[Scope, frozenset[Permission]]] = {
    "read": _VIEWER,
    "log": frozenset({"log", "log-read"}),
    "launch": _MEMBER,
    "admin": _ADMINISTRATOR,
}
"""No token changes an account: who finds one cannot create another."""
MACHINE_PERMISSIONS: Final[frozenset[Permission]] = _ADMINISTRATOR
"""Of the owner of the data folder, and of everyone while nobody has to sign in. There is no account to change."""

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,59}")
SHORTEST_PASSWORD: Final = 10
LONGEST_PASSWORD: Final = 200
FEWEST_CHARACTERS: Final = 5
_COMMON: Final = (
    *("password", "passwort", "qwerty", "qwertz", "azerty", "letmein", "welcome", "administrator", "runyard"),
    *("iloveyou", "changeme", "trustno1", "abcdefghij", "0123456789", "1234567890", "9876543210"),
)


class RoleRulesError(ValueError):
    """Rules that say which role a group gives cannot be read."""


def read_role_rules(rules: str) -> dict[str, Role]:
    """Read rules such as ``admins=administrator, *=viewer``: roles by group. Raises RoleRulesError."""
    found: dict[str, Role] = {}
    for rule in filter(None, map(str.strip, rules.split(","))):
        group, given, role = (part.strip() for part in rule.rpartition("="))
        named = next((each for each in ROLES if each == role), None)
        if not (group and given) or named is None:
            raise RoleRulesError(f"must have rules such as staff=member, *=viewer; roles: {', '.join(ROLES)}")
        if group in found:
            raise RoleRulesError(f"must have one rule for '{group[:40]}'")
        found[group] = named
    return found


def highest_role(rules: Mapping[str, Role], groups: Iterable[str]) -> Role | None:
    """Return the highest role that the rules give to somebody in these groups; None if they give none.

    ``*`` is the group of everyone, whatever a provider calls a group of its own.
    """
    given = {rules[group] for group in {*groups} - {"*"} if group in rules}
    if "*" in rules:
        given.add(rules["*"])
    return max(given, key=ROLES.index, default=None)


def name_problem(name: str) -> str | None:
    """Say what is wrong with a person's name; None if nothing is."""
    if NAME.fullmatch(name):
        return None
    return (
        "name must have 1 to 60 characters: lowercase letters, digits and . _ @ + -, starting with a letter or a digit"
    )


def password_problem(password: str, name: str = "") -> str | None:
    """Say what is wrong with a password of the person ``name``; None if nothing is."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        return f"password must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
    if any("\ud800" <= character <= "\udfff" for character in password):
        return "password contains characters that are not valid text"
    if len(set(password)) < FEWEST_CHARACTERS:
        return f"password must have at least {FEWEST_CHARACTERS} different characters"
    # What is left without the word that everyone tries first, and without digits and signs, must not be nothing.
    plain = password.casefold()
    for word in (*_COMMON, *([name.casefold()] if len(name) > 2 else [])):
        plain = plain.replace(word, "")
    if sum(character.isalpha() for character in plain) < 3 and len(plain) < SHORTEST_PASSWORD:
        return "password is too easy to guess; use several words, or let a password manager choose one"
    return None
