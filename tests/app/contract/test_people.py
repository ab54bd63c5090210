"""Names and passwords: what is allowed, and that a sentence says what is wrong with the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.people import (
    LONGEST_PASSWORD,
    ROLES,
    SHORTEST_PASSWORD,
    Role,
    RoleRulesError,
    highest_role,
    name_problem,
    password_problem,
    read_role_rules,
)


@pytest.mark.parametrize("name", ["ada", "grace.hopper", "e@example.org", "7of9", "a" * 60, "bot_1+x"])
def test_usual_names_are_allowed(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", "Ada", "-ada", ".", "a" * 61, "a b", "a/b", "ada\n", "адa", "a\0", "a:b", "%2f"])
def test_names_that_look_like_others_or_break_addresses_are_not(name: str) -> None:
    assert "1 to 60 characters" in (name_problem(name) or "")


@pytest.mark.parametrize(
    "password", ["correct horse battery", "Tr0ub4dor&3x", "日本語のパスワードです", "f9K2-x8Lq-77", "ada lovelace 1815"]
)
def test_passwords_that_nobody_guesses_are_allowed(password: str) -> None:
    assert password_problem(password, "ada") is None


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("short", "10 to 200 characters"),
        ("x" * 201, "10 to 200 characters"),
        ("aaaaaaaaaaaa", "5 different"),
        ("abababababab", "5 different"),
        ("password123", "easy to guess"),
        ("Passwort2026!", "easy to guess"),
        ("qwertyqwerty1", "easy to guess"),
        ("1234567890", "easy to guess"),
        ("grace-hopper", "easy to guess"),
        ("runyard2026!", "easy to guess"),
        ("abcdefghi\ud800", "valid text"),
    ],
)
def test_silly_passwords_are_refused_with_the_reason(password: str, sentence: str) -> None:
    assert sentence in (password_problem(password, "grace-hopper") or "")


@given(st.text(max_size=300), st.text(max_size=20))
def test_an_allowed_password_is_never_too_short_too_long_or_the_name(password: str, name: str) -> None:
    if password_problem(password, name) is None:
        assert SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD
        assert password.casefold() != name.casefold() or len(name) <= 2


# Roles by group -------------------------------------------------------------------------------------------------------


def test_rules_are_read_as_they_stand() -> None:
    assert read_role_rules(" lab = member,cn=a=viewer ,, *=viewer") == {
        "lab": "member",
        "cn=a": "viewer",
        "*": "viewer",
    }
    assert read_role_rules("") == {}


@pytest.mark.parametrize("rules", ["lab", "lab=", "=member", "lab=owner", "lab=Member", "a=viewer,a=member"])
def test_rules_that_cannot_be_read_are_refused(rules: str) -> None:
    with pytest.raises(RoleRulesError, match="must have"):
        read_role_rules(rules)


GROUPS = st.sampled_from(["a", "b", "c", "*", "A", ""])


@given(st.dictionaries(GROUPS, st.sampled_from(ROLES)), st.lists(GROUPS), st.lists(GROUPS))
def test_more_groups_never_give_less_and_none_give_only_what_everyone_has(
    rules: dict[str, Role], groups: list[str], more: list[str]
) -> None:
    given, with_more = highest_role(rules, groups), highest_role(rules, groups + more)
    assert ROLES.index(with_more) >= ROLES.index(given) if given and with_more else not given
    assert highest_role(rules, []) == rules.get("*")
    # A group that calls itself the star is none.
    assert highest_role(rules, ["*"]) == rules.get("*")
    assert given is None or given in {rules.get(group) for group in [*groups, "*"]}
