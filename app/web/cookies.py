"""The cookies of a session, and of a sign-in at a provider: HttpOnly, SameSite=Lax, and Secure behind TLS."""

from __future__ import annotations

import ipaddress

from fastapi import Request, Response

from app.contract.settings import Settings
from app.store.sign_in_attempt import VALID_SECONDS
from app.store.sign_in_session import LONGEST_SECONDS


def is_secure(request: Request, settings: Settings) -> bool:
    """Tell whether the browser's connection is encrypted: here, or as a trusted proxy says."""
    if request.url.scheme == "https":
        return True
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    forwarded = request.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    return forwarded == "https" and any(address in network for network in settings.proxies)


def cookie_name(request: Request, settings: Settings, kind: str = "session") -> str:
    """Return a cookie's name: browsers do not tell the ports of a host apart, and __Host- binds it to TLS."""
    name = f"runyard-{kind}-{settings.port}"
    return f"__Host-{name}" if is_secure(request, settings) else name


def read_session(request: Request, settings: Settings) -> str:
    """Return the secret in the cookie; blank without one."""
    return request.cookies.get(cookie_name(request, settings), "")


def set_session(answer: Response, request: Request, settings: Settings, secret: str) -> None:
    """Set the cookie."""
    answer.set_cookie(
        cookie_name(request, settings),
        secret,
        max_age=int(LONGEST_SECONDS),
        path="/",
        httponly=True,
        samesite="lax",
        secure=is_secure(request, settings),
    )


def clear_session(answer: Response, request: Request, settings: Settings) -> None:
    """Remove the cookie."""
    answer.delete_cookie(
        cookie_name(request, settings), path="/", httponly=True, samesite="lax", secure=is_secure(request, settings)
    )


# A sign-in at a provider ----------------------------------------------------------------------------------------------


def read_attempt(request: Request, settings: Settings) -> str:
    """Return the secret of the browser that started a sign-in; blank without one."""
    return request.cookies.get(cookie_name(request, settings, "sign-in"), "")


def set_attempt(answer: Response, request: Request, settings: Settings, secret: str) -> None:
    """Set the cookie of a sign-in. Lax: the provider's page leads back here."""
    answer.set_cookie(
        cookie_name(request, settings, "sign-in"),
        secret,
        max_age=int(VALID_SECONDS),
        path="/",
        httponly=True,
        samesite="lax",
        secure=is_secure(request, settings),
    )


def clear_attempt(answer: Response, request: Request, settings: Settings) -> None:
    """Remove the cookie of a sign-in."""
    answer.delete_cookie(
        cookie_name(request, settings, "sign-in"),
        path="/",
        httponly=True,
        samesite="lax",
        secure=is_secure(request, settings),
    )
