"""Names and passwords: what is allowed, and that a sentence says what is wrong with the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.people import LONGEST_PASSWORD, SHORTEST_PASSWORD, name_problem, password_problem


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
