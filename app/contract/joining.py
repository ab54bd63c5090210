"""How another machine becomes a worker: the token that an administrator gives it, and what the server then tells it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

PREFIX: Final = "ryj_"
_FORM: Final = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{1,2000}})\.([A-Za-z0-9_-]{{1,200}})")

Text = Annotated[str, Field(max_length=300)]


class JoinRequest(BaseModel):
    """``secret``: of the token. ``host``: name of the machine. ``version``, ``protocol``: of Runyard on it."""

    model_config = ConfigDict(extra="ignore")

    secret: Text
    host: Text
    version: Text
    protocol: Annotated[int, Field(ge=0, lt=2**31)]


class JoinAnswer(BaseModel):
    """What a worker needs. ``environment``: variables to set, with the addresses and passwords of Redis and the store.

    ``redis_certificate``, ``store_certificate``: PEM text of who signed their certificates; "" if the machine's own
    authorities do. ``architecture_key``: in hexadecimal; "" if there is none.
    """

    model_config = ConfigDict(extra="ignore")

    version: str
    protocol: int
    environment: dict[str, str]
    redis_certificate: str = ""
    store_certificate: str = ""
    architecture_key: str = ""


def make_token(url: str, secret: str) -> str:
    """A token that says which server to ask, and proves that this may be done."""
    return f"{PREFIX}{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}.{secret}"


def read_token(token: str) -> tuple[str, str]:
    """The URL and the secret in a token. Raises ValueError."""
    found = _FORM.fullmatch(token.strip())
    try:
        if found is None:
            raise ValueError
        url = base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)).decode()
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError
    except (ValueError, binascii.Error):
        raise ValueError(
            "this is not a token for workers; an administrator creates one on the page Administration or with"
            " `runyard worker-token add`"
        ) from None
    return url, found[2]
