"""Sign-in at an OpenID Connect provider: authorization code flow with PKCE, and a full check of the ID token.

Authlib builds the requests and checks the claims (OpenID Connect Core 1.0, 3.1.3.7), joserfc the signature. The library
is imported when somebody signs in, since only `pip install 'runyard[oidc]'` brings it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from app.contract.errors import Forbidden, Unauthorized, Unavailable
from app.contract.settings import Settings, is_loopback
from app.store.user_identity import is_subject

logger = logging.getLogger("runyard.server")

MISSING: Final = "RUNYARD_OIDC_ISSUER requires Authlib; install it with pip install 'runyard[oidc]'"
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Only signatures with a private key: never "none", nor HS256, for which a public key could pass as the secret."""
KEY_TYPES: Final = ("RSA", "EC")
TIMEOUT_SECONDS: Final = 10.0
MOST_BYTES: Final = 2**20
KEEP_SECONDS: Final = 3600.0
LEEWAY_SECONDS: Final = 60
"""How far the clocks of provider and server may differ."""
AT_ONCE: Final = 8
"""Everyone can make Runyard ask the provider; a slow one must not take all threads."""
CLAIMS: Final[Mapping[str, str]] = {
    "iss": "it comes from another provider",
    "aud": "it is for another application",
    "azp": "it is for another application",
    "exp": "it has expired",
    "nonce": "it belongs to another sign-in",
    "iat": "its time is wrong; compare the clocks",
    "nbf": "its time is wrong; compare the clocks",
    "at_hash": "it belongs to another access token",
    "sub": "it names nobody",
}
"""What is wrong with an ID token, by the claim that is not as it must be."""


def is_installed() -> bool:
    """Tell whether the library is here."""
    return all(importlib.util.find_spec(name) is not None for name in ("authlib", "joserfc"))


class OpenIDProvider:
    """The provider of the settings. Its methods block, so routes call them in a thread."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.issuer = settings.oidc_issuer
        self.client_id = settings.oidc_client_id
        secret = settings.oidc_client_secret
        self._secret = "" if secret is None else secret.get_secret_value()
        self._scopes = settings.oidc_scopes
        self._clock = clock
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    @property
    def host(self) -> str:
        """What the provider is called on pages."""
        return urlsplit(self.issuer).netloc

    def address(self, redirect: str, state: str, nonce: str, verifier: str) -> str:
        """Return the address at which the provider signs a person in. Raises Unavailable."""
        if not is_installed():
            raise Unavailable(MISSING)
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        address: str = prepare_grant_uri(
            self._endpoint("authorization_endpoint"),
            self.client_id,
            "code",
            redirect,
            self._scopes,
            state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return address

    def claims(self, code: str, redirect: str, verifier: str, nonce: str, wanted: tuple[str, ...]) -> dict[str, Any]:
        """Exchange a code for the claims of the person who has signed in, verified.

        Asks the provider's userinfo endpoint as well if the ID token lacks one of the claims ``wanted``. Raises
        Unavailable if the provider does not answer as it should, and Unauthorized if it does not accept the code, or
        if what it says cannot be verified.
        """
        tokens = self._exchange(code, redirect, verifier)
        access_token = tokens.get("access_token")
        found = self._verify(str(tokens.get("id_token") or ""), nonce, access_token)
        if any(name.partition(".")[0] not in found for name in wanted) and isinstance(access_token, str):
            found = self._userinfo(access_token, found["sub"]) | found
        return found

    # Requests to the provider -----------------------------------------------------------------------------------------

    def _exchange(self, code: str, redirect: str, verifier: str) -> dict[str, Any]:
        from authlib.oauth2.auth import ClientAuth

        methods = self._configuration().get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        preferred = ("client_secret_basic", "client_secret_post") if self._secret else ("none",)
        method = next((each for each in preferred if each in methods), preferred[0])
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        auth = ClientAuth(self.client_id, self._secret, method)
        url, headers, body = auth.prepare("POST", self._endpoint("token_endpoint"), headers, urlencode(form))
        status, answer = self._ask("POST", url, headers, body)
        if status == 200 and "id_token" in answer:
            return answer
        error = answer.get("error")
        logger.warning("%s refuses a code: status %d, error %.60r", self.issuer, status, error)
        if error == "invalid_grant":
            raise Unauthorized(f"{self.host} no longer accepts this sign-in; start again")
        if error in ("invalid_client", "unauthorized_client") or status == 401:
            raise Unavailable(f"{self.host} does not accept RUNYARD_OIDC_CLIENT_ID and RUNYARD_OIDC_CLIENT_SECRET")
        raise Unavailable(f"{self.host} does not say who has signed in; try again in a moment")

    def _userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        if not self._configuration().get("userinfo_endpoint"):
            return {}
        url = self._endpoint("userinfo_endpoint")
        status, answer = self._ask("GET", url, {"authorization": f"Bearer {access_token}"})
        if status != 200 or answer.get("sub") != subject:
            raise Unauthorized(_unverified("its user information is about somebody else"))
        return answer

    def _configuration(self) -> dict[str, Any]:
        found = self._kept_answer(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            logger.error("RUNYARD_OIDC_ISSUER is %s, but the provider calls itself %r", self.issuer, found["issuer"])
            called = str(found.get("issuer"))[:200]
            raise Unavailable(f"the provider calls itself {called}; RUNYARD_OIDC_ISSUER must be exactly that")
        return found

    def _endpoint(self, name: str) -> str:
        """Return an address of the configuration; encrypted, unless the provider is on this machine."""
        url = self._configuration().get(name)
        parts = urlsplit(url if isinstance(url, str) else "")
        local = parts.scheme == "http" and is_loopback(parts.hostname or "") and self.issuer.startswith("http:")
        if not parts.hostname or not (parts.scheme == "https" or local):
            raise Unavailable(f"{self.host} has no {name} with https in its configuration")
        return str(url)

    def _kept_answer(self, url: str, again: bool = False) -> dict[str, Any]:
        until, kept = self._kept.get(url, (float("-inf"), {}))
        if not again and self._clock() < until:
            return kept
        status, answer = self._ask("GET", url, {"accept": "application/json"})
        if status != 200 or not answer:
            raise Unavailable(f"{url} has no configuration of an OpenID Connect provider")
        answer.setdefault("issuer", None)
        self._kept[url] = (self._clock() + KEEP_SECONDS, answer)
        return answer

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: str = "") -> tuple[int, dict[str, Any]]:
        """Send a request; redirects are not followed. Returns the status and the JSON object of the answer."""
        # Takes 0.3 s to import; the first page must not wait for it.
        import httpx

        if not self._free.acquire(timeout=TIMEOUT_SECONDS):
            raise Unavailable(f"too many people sign in at {self.host} at once; try again in a moment")
        content = bytearray()
        try:
            with (
                httpx.Client(timeout=TIMEOUT_SECONDS) as client,
                client.stream(method, url, headers=dict(headers), content=body or None) as answer,
            ):
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise Unavailable(f"{self.host} answers with more than {MOST_BYTES // 2**20} MiB")
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            logger.warning("%s does not answer: %s", url, error)
            raise Unavailable(f"{self.host} does not answer; try again in a moment") from error
        finally:
            self._free.release()
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = {}
        return status, found if isinstance(found, dict) else {}

    # ID tokens --------------------------------------------------------------------------------------------------------

    def _verify(self, token: str, nonce: str, access_token: Any) -> dict[str, Any]:
        """Return the claims of an ID token. Raises Unauthorized."""
        from authlib.oidc.core import CodeIDToken
        from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError

        try:
            header, claims = self._decode(token)
            known = CodeIDToken(
                claims,
                header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self.client_id},
                },
                params={"nonce": nonce, "client_id": self.client_id, "access_token": access_token},
            )
            known.validate(now=int(self._clock()), leeway=LEEWAY_SECONDS)
        except (ExpiredTokenError, InvalidClaimError, MissingClaimError) as error:
            claim = str(getattr(error, "claim", None) or "exp")
            logger.warning("an ID token of %s is not valid: %s", self.issuer, error)
            raise Unauthorized(_unverified(CLAIMS.get(claim, f"its claim {claim[:40]} is wrong"))) from error
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            logger.warning("an ID token of %s is not valid: %s", self.issuer, error)
            raise Unauthorized(_unverified("its signature is not one of the provider's")) from error
        if not is_subject(claims["sub"]):
            raise Unauthorized(_unverified(CLAIMS["sub"]))
        return claims

    def _decode(self, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check the signature; with keys that are fetched again if none fits, since providers replace theirs."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        url = self._endpoint("jwks_uri")
        for again in (False, True):
            try:
                decoded = jwt.decode(token, _key_set(self._kept_answer(url, again)), algorithms=list(ALGORITHMS))
                return decoded.header, decoded.claims
            except (JoseError, ValueError):
                if again:
                    raise
        raise AssertionError


def _key_set(found: Mapping[str, Any]) -> Any:
    """The provider's public keys for signatures; others, such as symmetric ones, are left out."""
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet, import_key

    keys = []
    for each in found.get("keys") or ():
        if isinstance(each, dict) and each.get("kty") in KEY_TYPES and each.get("use", "sig") == "sig":
            try:
                keys.append(import_key({name: each[name] for name in each if name not in PRIVATE}))
            except (JoseError, ValueError, TypeError) as error:
                logger.warning("a key of the provider is not usable: %s", error)
    return KeySet(keys)


PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))


def _unverified(reason: str) -> str:
    return f"the provider's answer could not be verified: {reason}"


def denied(error: str) -> Forbidden:
    """What to say when the provider sends somebody back without a code; ``error``: its word for it."""
    if error == "access_denied":
        return Forbidden("the provider did not let you in, or you stopped the sign-in")
    plain = error[:40] if error.isascii() and error.replace("_", "").isalnum() else "unknown"
    return Forbidden(f"the provider did not sign you in: {plain}")


# Claims ---------------------------------------------------------------------------------------------------------------


def claim_values(claims: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of a claim; dots lead into objects. An email counts only if the provider has verified it."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if name == "email" and claims.get("email_verified") not in (True, "true"):
        return []
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, str)]
