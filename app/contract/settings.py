"""All settings of Runyard, read from environment variables ``RUNYARD_<NAME>``."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.contract.people import RoleRulesError, read_role_rules
from app.contract.spec import DEVICE

MAX_SOCKET_PATH_BYTES = 103
"""Maximum path length of a Unix socket on all systems, in bytes: 107 on Linux, 103 on macOS."""

HEADER = re.compile(r"[A-Za-z0-9-]{1,60}")
TAKEN_HEADERS = frozenset(
    (
        *("authorization", "connection", "content-length", "content-type", "cookie", "forwarded", "host", "origin"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"),
    )
)
"""Headers that mean something else, and that clients may send."""


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on, or of a sender, means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """Settings of all processes; ``RUNYARD_DATA_DIR=/srv/yard`` sets ``data_dir``. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="RUNYARD_", frozen=True, extra="ignore")

    data_dir: Path = Field(Path("data"), description="Folder for everything that Runyard writes.")
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. On an address other than loopback, everyone has to sign in.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    slots: int = Field(1, ge=1, le=64, description="Number of runs that one worker trains at the same time.")
    device: str = Field(
        "auto",
        description="Device that a worker trains on: auto, cpu, cuda, or one GPU such as cuda:1; auto uses a GPU if one"
        " is available.",
    )
    redis_url: str | None = Field(None, description="URL of an existing Redis; if unset, `runyard up` starts its own.")
    database_url: str | None = Field(
        None,
        description="URL of a PostgreSQL database, postgresql://user:password@host/name, which requires"
        " runyard[postgres]; if unset, SQLite in the data folder.",
    )
    artifact_url: str | None = Field(
        None,
        description="Storage for checkpoints and files of runs (any fsspec URL); unset: a folder in the data folder.",
    )
    behind_loopback_publish: bool = Field(
        False,
        description="Allow 0.0.0.0 in a container whose port is published only on the host's loopback address.",
    )
    allowed_hosts: str = Field(
        "",
        description="Additional host names (comma-separated) under which browsers may reach this server; all others are"
        " rejected to prevent DNS rebinding.",
    )
    sign_in: Literal["auto", "always"] = Field(
        "auto",
        description="Whether everyone has to sign in: auto, as soon as Runyard listens on an address other than"
        " loopback, anyone was added, or others sign people in (RUNYARD_OIDC_ISSUER, RUNYARD_PROXY_USER_HEADER); or"
        " always, which a reverse proxy on this machine needs.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of reverse proxies (comma-separated) whose X-Forwarded-For and"
        " X-Forwarded-Proto headers count.",
    )
    proxy_user_header: str = Field(
        "",
        description="Header in which a trusted proxy names the person whom it has signed in, such as X-Remote-User;"
        " from other addresses it means nothing.",
    )
    oidc_client_id: str = Field("", description="ID under which an OpenID Connect provider knows Runyard.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Secret of RUNYARD_OIDC_CLIENT_ID; unset for a public client, which has PKCE alone."
    )
    oidc_issuer: str = Field(
        "",
        description="URL of an OpenID Connect provider at which people sign in, exactly as it calls itself; requires"
        " runyard[oidc].",
    )
    oidc_scopes: str = Field("openid profile email", description="Scopes to ask the provider for.")
    oidc_name_claim: str = Field(
        "preferred_username",
        min_length=1,
        description="Claim that becomes a person's name here; email counts only if email_verified is true.",
    )
    oidc_roles_claim: str = Field(
        "groups",
        min_length=1,
        description="Claim whose values RUNYARD_OIDC_ROLES lists; dots lead into objects, as in realm_access.roles.",
    )
    oidc_roles: str = Field(
        "",
        description="Who may enter with which role (comma-separated), as in yard-admins=administrator, lab=member,"
        " *=viewer, where * is everyone whom the provider signs in; if unset, only people whom an administrator has"
        " linked.",
    )
    webhook_private: bool = Field(
        False,
        description="Allow webhooks to private, loopback and link-local addresses, such as a chat server of your own.",
    )
    models_path: Path | None = Field(
        None,
        description="Folder with your own architectures, one Python file each; read by the server and the workers.",
    )
    import_paths: str = Field(
        "",
        description="Folders on the server's machine (separated by colons) from which datasets may be imported by path;"
        " uploads need none.",
    )
    fetched_gib: float = Field(
        100.0,
        gt=0,
        description="Space that a worker on another machine than the server gives to copies of your own datasets, in"
        " GiB; those that no run has used for longest are removed first.",
    )
    resident_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Largest share of the free memory (GPU memory on a GPU) for a run's images; larger datasets are"
        " streamed from disk. 0 streams every dataset.",
    )
    heartbeat_seconds: float = Field(2.0, gt=0, description="Interval between heartbeats of a worker.")
    lease_seconds: float = Field(
        10.0, gt=0, description="A run counts as lost if its worker sends no heartbeat for this long."
    )
    orphan_seconds: float = Field(
        60.0,
        gt=0,
        description="A trainer that loses contact with the server for this long saves a checkpoint and exits.",
    )
    cancel_seconds: float = Field(
        15.0, gt=0, description="A trainer that is still active this long after a stop request is killed."
    )
    stall_seconds: float = Field(
        600.0, gt=0, description="A run whose trainer completes no training step for this long is killed and fails."
    )
    max_attempts: int = Field(
        3,
        ge=1,
        description="Number of attempts without progress after which a lost run fails. A run is lost when its worker"
        " disappears or its trainer is killed from outside.",
    )
    flush_seconds: float = Field(0.05, gt=0, description="Interval at which a trainer sends new points.")
    checkpoint_seconds: float = Field(60.0, gt=0, description="Longest interval between checkpoints within an epoch.")
    silence_hours: float = Field(
        24.0, gt=0, description="A run logged by a script fails after this many hours without data."
    )
    max_file_mib: int = Field(
        2048, ge=1, description="Largest file that a script can log to a run, in MiB; larger ones are rejected."
    )
    max_run_files_mib: int = Field(
        20480, ge=1, description="Most that all files logged to one run can take together, in MiB."
    )
    fair_queue: bool = Field(
        True,
        description="People whose runs wait with the same priority start one each in turn, once somebody was added;"
        " if false, all runs of a priority start in the order in which they were launched.",
    )
    most_running: int = Field(
        0,
        ge=0,
        description="How many runs of one person are active at once; further ones wait. 0: any number. Administrators"
        " can set another limit for a person.",
    )
    most_queued: int = Field(
        0,
        ge=0,
        description="How many runs one person can have queued at once; a launch of more is rejected as a whole. 0: any"
        " number. Administrators can set another limit for a person.",
    )
    trash_days: float = Field(
        7.0, ge=0, description="Number of days for which deleted runs, datasets and people can be restored."
    )
    checkpoints_days: float | None = Field(
        None,
        ge=0,
        description="Number of days after the end of a run for which its checkpoints are kept, except the best one; if"
        " unset, forever.",
    )
    best_checkpoints_days: float | None = Field(
        None,
        ge=0,
        description="Number of days after the end of a run for which its best checkpoint is kept; if unset, forever.",
    )
    predictions_days: float | None = Field(
        None,
        ge=0,
        description="Number of days after the end of a run, or its evaluation, for which its predictions are kept; if"
        " unset, forever.",
    )
    logs_days: float | None = Field(
        None, ge=0, description="Number of days after the end of a run for which its log is kept; if unset, forever."
    )
    spools_days: float | None = Field(
        None,
        ge=0,
        description="Number of days for which reports of ended runs that no worker has sent are kept in the data"
        " folder; if unset, forever.",
    )
    keep_free_gib: float | None = Field(
        None,
        ge=0,
        description="If less than this is free on the disk of the artifact store, in GiB, checkpoints and predictions"
        " of the runs that ended first are removed, except best checkpoints.",
    )
    most_stored_gib: float | None = Field(
        None,
        ge=0,
        description="If the files of all runs take more than this, in GiB, checkpoints and predictions of the runs that"
        " ended first are removed, except best checkpoints.",
    )
    log_format: Literal["plain", "json"] = Field(
        "plain", description="How processes write their logs: plain lines, or json, one object a line."
    )
    disk_warn_mib: int = Field(
        5120,
        ge=0,
        description="Pages and commands warn if less than this is free on a disk, in MiB; on a small disk, if less than"
        " a tenth of it is. 0 never warns.",
    )
    disk_pause_mib: int = Field(
        1024,
        ge=0,
        description="If less than this is free, in MiB, no run starts and active runs hold back checkpoints; on a small"
        " disk, if less than a fiftieth of it is. 0 waits until the disk is full.",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not DEVICE.fullmatch(value):
            raise PydanticCustomError("device", "must be auto, cpu, cuda, or one GPU such as cuda:1")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for part in filter(None, map(str.strip, value.split(","))):
            try:
                ipaddress.ip_network(part)
            except ValueError as error:
                raise PydanticCustomError(
                    "trusted_proxies", "must be addresses or networks such as 127.0.0.1, 10.0.0.0/8"
                ) from error
        return value

    @field_validator("proxy_user_header")
    @classmethod
    def _header_of_a_proxy(cls, value: str, info: ValidationInfo) -> str:
        if value and (not HEADER.fullmatch(value) or value.lower() in TAKEN_HEADERS):
            raise PydanticCustomError("header", "must be the name of a header of its own, such as X-Remote-User")
        if value and not info.data.get("trusted_proxies"):
            raise PydanticCustomError("header", "needs RUNYARD_TRUSTED_PROXIES: it counts only from these addresses")
        return value

    @field_validator("oidc_client_secret")
    @classmethod
    def _secret_in_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        secret = "" if value is None else value.get_secret_value()
        if not (secret.isascii() and secret.isprintable()):
            raise PydanticCustomError("secret", "must have only printable ASCII characters")
        return value if secret else None

    @field_validator("oidc_issuer")
    @classmethod
    def _encrypted_issuer(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        encrypted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        if not encrypted or not parts.hostname or parts.query or parts.fragment:
            raise PydanticCustomError("issuer", "must be a URL with https, such as https://login.example.org")
        if not info.data.get("oidc_client_id"):
            raise PydanticCustomError("issuer", "needs RUNYARD_OIDC_CLIENT_ID")
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def _openid(cls, value: str) -> str:
        if "openid" not in value.split():
            raise PydanticCustomError("scopes", "must contain openid")
        return " ".join(value.split())

    @field_validator("oidc_roles")
    @classmethod
    def _roles(cls, value: str) -> str:
        try:
            read_role_rules(value)
        except RoleRulesError as error:
            raise PydanticCustomError("roles", "{problem}", {"problem": str(error)}) from error
        return value

    @property
    def proxies(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Networks of trusted reverse proxies."""
        return [ipaddress.ip_network(part) for part in map(str.strip, self.trusted_proxies.split(",")) if part]

    @property
    def everyone_signs_in(self) -> bool:
        """Whether everyone has to sign in, even if nobody was added."""
        by_others = bool(self.oidc_issuer or self.proxy_user_header)
        return self.sign_in == "always" or by_others or not (is_loopback(self.host) or self.behind_loopback_publish)

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'runyard.db'}"

    @property
    def artifacts(self) -> str:
        """fsspec URL of the artifact store, without a trailing slash."""
        return (self.artifact_url or str(self.data_dir.absolute() / "artifacts")).rstrip("/")

    @property
    def datasets(self) -> Path:
        """Folder of downloaded and prepared datasets."""
        return self.data_dir.absolute() / "datasets"

    @property
    def import_folders(self) -> list[Path]:
        """Folders from which datasets may be imported by path."""
        return [Path(part) for part in self.import_paths.split(":") if part]

    @property
    def tunings(self) -> Path:
        """File in which a worker caches how each network trains fastest on its machine."""
        return self.data_dir.absolute() / "tunings.json"

    @property
    def spool(self) -> Path:
        """Folder for reports of trainers that the recorder has not committed yet."""
        return self.data_dir.absolute() / "spool"

    @property
    def socket(self) -> Path:
        """Unix socket of the embedded Redis.

        In the data folder, or in a private folder under /tmp if the data folder's path is too long for a socket.
        """
        inside = self.data_dir.absolute() / "redis" / "redis.sock"
        if len(os.fsencode(inside)) <= MAX_SOCKET_PATH_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data_dir.absolute())).hexdigest()[:16]
        return Path(f"/tmp/runyard-{os.getuid()}") / f"{digest}.sock"

    @property
    def redis(self) -> str:
        """URL of Redis: the configured one, or the socket of the embedded one."""
        return self.redis_url or f"unix://{self.socket}"
