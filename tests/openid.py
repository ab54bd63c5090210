"""An OpenID Connect provider for unit tests, which lies wherever a test says. The system tests have a real process."""

from __future__ import annotations

import hmac
import json
import re
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.testclient import TestClient

from app.services.openid_provider import OpenIDProvider
from app.web.credentials import Credentials
from app.web.dependencies import Parts

CLIENT = "runyard"
SECRET = "not a secret"
RULES = "yard-admins=administrator, lab=member, guests=viewer"
Change = Callable[[dict[str, Any]], None]


@cache
def key(name: str) -> RSAKey:
    """A key pair, made once in a process."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"})


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


def _unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(_encoded(json.dumps(each).encode()) for each in (header, claims))


class Provider:
    """What the provider says: ``person``: the claims of whoever signs in; the rest is what a test may falsify."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.person: dict[str, Any] = {"sub": "s-1", "preferred_username": "Grace", "groups": ["lab"]}
        self.userinfo: dict[str, Any] = {}
        self.signs_with = "first"
        self.publishes = ["first"]
        self.codes: dict[str, dict[str, str]] = {}
        self.change_configuration: Change = lambda _: None
        self.change_claims: Change = lambda _: None
        self.make_token: Callable[[dict[str, Any]], str] = self.sign
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []

    def configuration(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        }
        self.change_configuration(found)
        return found

    def keys(self) -> dict[str, Any]:
        return {"keys": [key(name).as_dict(private=False) for name in self.publishes]}

    def authorize(self, address: str) -> str:
        """Sign somebody in at the address that Runyard leads to; returns the query with which they come back."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert address.startswith(f"{self.issuer}/authorize?")
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"code={code}&state={asked['state']}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self.codes.pop(form["code"], None)
        if not authorization.startswith("Basic "):
            return 401, {"error": "invalid_client"}
        if asked is None or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if create_s256_code_challenge(form["code_verifier"]) != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": asked["client_id"], "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        claims |= self.person
        self.change_claims(claims)
        return 200, {"access_token": "a-1", "token_type": "Bearer", "id_token": self.make_token(claims)}

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": key(self.signs_with).kid}, claims, key(self.signs_with))

    def sign_with_public_key(self, claims: dict[str, Any]) -> str:
        """The trick of those who have only the public key: it as the secret of a symmetric signature."""
        content = _unsigned({"alg": "HS256", "kid": key("first").kid}, claims)
        return f"{content}.{_encoded(hmac.digest(key('first').as_pem(private=False), content.encode(), 'sha256'))}"

    def leave_unsigned(self, claims: dict[str, Any]) -> str:
        """A token of which anybody could be the author."""
        return _unsigned({"alg": "none", "kid": key("first").kid}, claims) + "."

    def answer(self, method: str, path: str, body: str, authorization: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        found: tuple[int, Any]
        match path:
            case "/.well-known/openid-configuration":
                found = 200, self.configuration()
            case "/keys":
                found = 200, self.keys()
            case "/token":
                found = self.token({name: values[0] for name, values in parse_qs(body).items()}, authorization)
            case "/userinfo":
                found = 200 if authorization == "Bearer a-1" else 401, {"sub": self.person["sub"]} | self.userinfo
            case _:
                found = 404, {}
        return found[0], json.dumps(found[1]).encode()


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            status, content = found.answer(self.command, self.path, body, self.headers.get("authorization", ""))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = reply  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join(10)


# Runyard with this provider -------------------------------------------------------------------------------------------


def configure(parts: Parts, idp: Provider, **changes: Any) -> None:
    """Let a server sign people in at the provider."""
    values = {
        "oidc_issuer": idp.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_roles": RULES,
    } | changes
    settings = type(parts.settings).model_validate(parts.settings.model_dump() | values)
    parts.settings = settings
    parts.provider = OpenIDProvider(settings) if settings.oidc_issuer else None
    parts.credentials = Credentials(parts.engine, settings, parts.credentials.passwords)


def leave(client: TestClient, target: str = "/") -> str:
    """Start a sign-in; returns where it leads."""
    answer = client.get("/sign-in/oidc", params={"next": target}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def come_back(client: TestClient, query: str) -> Any:
    return client.get(f"/sign-in/oidc/callback?{query}", follow_redirects=False)


def sign_in(client: TestClient, idp: Provider, target: str = "/") -> Any:
    return come_back(client, idp.authorize(leave(client, target)))


def refusal(answer: Any) -> tuple[int, str]:
    """Status and sentence of a refusal, which gives no session."""
    assert not any("runyard-session" in each for each in answer.headers.get_list("set-cookie"))
    found = re.search(r'<p class="wrong" id="wrong" role="alert">(.*?)</p>', answer.text)
    assert found is not None, answer.text
    return answer.status_code, found[1]
