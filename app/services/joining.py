"""What the server tells a machine that joins as a worker, and whether others can reach what it names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from _runyard import __version__
from app.contract.command_key import KeyFileError, architecture_key, ensure_key, read_key
from app.contract.joining import JoinAnswer
from app.contract.protocol import PROTOCOL
from app.contract.settings import Settings, is_loopback
from app.services.welcome import public_url

STORE_VARIABLES: Final = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "FSSPEC_S3_ENDPOINT_URL", "FSSPEC_S3_KEY", "FSSPEC_S3_SECRET"),
)
"""Variables of the server with which s3fs finds a store and signs in to it."""
SETTINGS: Final = (
    *("heartbeat_seconds", "lease_seconds", "orphan_seconds", "cancel_seconds", "stall_seconds", "flush_seconds"),
    "checkpoint_seconds",
)
"""What server and workers have to agree on."""
AUTHORITY: Final = "ssl_ca_certs"
OWN_CERTIFICATES: Final = ("ssl_certfile", "ssl_keyfile", "ssl_ca_path", "ssl_ca_data")


def why_not_joinable(settings: Settings) -> str:
    """Why no other machine can work for this server, and what to do; "" if it can."""
    if settings.redis_url is None or settings.redis_url.startswith("unix:"):
        return (
            "other machines cannot reach the Redis that Runyard starts, which listens on no port; set RUNYARD_REDIS_URL"
            " to one that they reach"
        )
    url = urlsplit(settings.redis_url)
    if is_loopback(url.hostname or "localhost"):
        return (
            f"RUNYARD_REDIS_URL names {url.hostname}, which on another machine means that machine itself; use an"
            " address of this machine that others can reach"
        )
    if any(name in OWN_CERTIFICATES for name, _ in parse_qsl(url.query)):
        return (
            "RUNYARD_REDIS_URL has certificate or key files of this machine, which a token cannot pass on; set the"
            " variables on the other machine and start `runyard worker` there"
        )
    if settings.artifact_url is None or "://" not in settings.artifact_url or settings.artifact_url.startswith("file:"):
        return "other machines cannot read a folder of this one; set RUNYARD_ARTIFACT_URL to a store such as s3://…"
    return ""


def answer(settings: Settings) -> JoinAnswer:
    """What a worker on another machine needs. Raises OSError if a certificate cannot be read."""
    assert settings.redis_url is not None
    assert settings.artifact_url is not None
    url = urlsplit(settings.redis_url)
    query = parse_qsl(url.query, keep_blank_values=True)
    authority = next((value for name, value in query if name == AUTHORITY), "")
    redis = urlunsplit(url._replace(query=urlencode([pair for pair in query if pair[0] != AUTHORITY])))
    environment = {name: os.environ[name] for name in STORE_VARIABLES if name in os.environ}
    for name in SETTINGS:
        if name in settings.model_fields_set:
            environment[f"RUNYARD_{name.upper()}"] = str(getattr(settings, name))
    environment |= {"RUNYARD_REDIS_URL": redis, "RUNYARD_ARTIFACT_URL": settings.artifact_url}
    bundle = os.environ.get("AWS_CA_BUNDLE", "")
    return JoinAnswer(
        version=__version__,
        protocol=PROTOCOL,
        environment=environment,
        redis_certificate=Path(authority).read_text() if authority else "",
        store_certificate=Path(bundle).read_text() if bundle else "",
        architecture_key=_architecture_key(settings),
    )


def _architecture_key(settings: Settings) -> str:
    """The key for architectures, of which a server without own ones may get some later."""
    try:
        return architecture_key(read_key(ensure_key(settings.data_dir))).hex()
    except (OSError, KeyFileError):
        return ""


def server_url(settings: Settings, requested: str) -> str:
    """The URL under which another machine reaches this server. ``requested``: that of a request to it."""
    url = urlsplit(requested)
    if not is_loopback(url.hostname or "localhost"):
        return requested.rstrip("/")
    name = next(filter(None, map(str.strip, settings.allowed_hosts.split(","))), "")
    if name and settings.proxies:
        return f"https://{name}"
    return public_url(settings, url.port or settings.port)
