from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.joining import make_token, read_token

SECRETS = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
HOSTS = st.from_regex(r"[a-z0-9.-]{1,30}", fullmatch=True)


@given(st.sampled_from(["http", "https"]), HOSTS, SECRETS)
def test_a_token_says_which_server_to_ask(scheme: str, host: str, secret: str) -> None:
    token = make_token(f"{scheme}://{host}:8000", secret)
    assert read_token(f" {token}\n") == (f"{scheme}://{host}:8000", secret)


@pytest.mark.parametrize(
    "text", ["", "ryj_", "ry_abc", "ryj_!.x", "ryj_aaaa.x", "ryj_a.x", make_token("file:///etc/passwd", "x")]
)
def test_other_text_is_told_what_a_token_is(text: str) -> None:
    with pytest.raises(ValueError, match="this is not a token for workers; an administrator creates one"):
        read_token(text)
