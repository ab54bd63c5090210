"""Every setting of Runyard: one row each, read from the environment as ``RUNYARD_<NAME>``."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.contract.spec import DEVICE

LONGEST_SOCKET_PATH = 103
"""The longest path of a Unix socket in bytes that every system takes: 107 on Linux, 103 on macOS."""


class Settings(BaseSettings):
    """Settings of all four processes; ``RUNYARD_DATA_DIR=/srv/yard`` sets ``data_dir``. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="RUNYARD_", frozen=True, extra="ignore")

    data_dir: Path = Field(Path("data"), description="Everything that Runyard writes is under this folder.")
    host: str = Field("127.0.0.1", description="Address to listen on; only loopback is accepted until sign-in exists.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    slots: int = Field(1, ge=1, le=64, description="Runs that one worker trains at a time.")
    device: str = Field(
        "auto",
        description="What a worker trains on: auto, cpu, cuda or one GPU such as cuda:1; auto: a GPU if any.",
    )
    redis_url: str | None = Field(None, description="An existing Redis; when unset, `runyard up` starts its own.")
    database_url: str | None = Field(None, description="SQLAlchemy address; when unset, SQLite in the data folder.")
    artifact_url: str | None = Field(
        None, description="Where checkpoints go (any fsspec address); when unset, a folder in the data folder."
    )
    behind_loopback_publish: bool = Field(
        False,
        description="Allows 0.0.0.0 inside a container whose port is published on the host's loopback address only.",
    )
    allowed_hosts: str = Field(
        "", description="Further host names, by comma, that a browser may use to reach this server (DNS rebinding)."
    )
    models_path: Path | None = Field(
        None, description="Folder of architectures of your own, one Python file each; read by worker and inspector."
    )
    heartbeat_seconds: float = Field(2.0, gt=0, description="How often a worker says that it is alive.")
    lease_seconds: float = Field(10.0, gt=0, description="A run whose worker was silent for so long is lost.")
    orphan_seconds: float = Field(
        60.0, gt=0, description="A trainer whose lease nobody could renew for so long saves a checkpoint and ends."
    )
    cancel_seconds: float = Field(
        15.0, gt=0, description="A trainer that has not stopped so long after Stop is killed."
    )
    stall_seconds: float = Field(600.0, gt=0, description="A trainer that makes no step for so long is killed.")
    max_attempts: int = Field(
        3, ge=1, description="How often a run that was lost or killed is started without getting further."
    )
    flush_seconds: float = Field(0.05, gt=0, description="How often a trainer sends its new points.")
    checkpoint_seconds: float = Field(60.0, gt=0, description="Longest time without a checkpoint within an epoch.")
    silence_hours: float = Field(
        24.0, gt=0, description="A run that a script logs, and of which nothing was heard for so long, has failed."
    )
    trash_days: float = Field(7.0, ge=0, description="Deleted runs can be restored for so many days.")

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not DEVICE.fullmatch(value):
            raise PydanticCustomError("device", "must be 'auto', 'cpu', 'cuda' or one GPU such as 'cuda:1'")
        return value

    @property
    def database(self) -> str:
        """SQLAlchemy address of the database."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'runyard.db'}"

    @property
    def artifacts(self) -> str:
        """fsspec address of the artifact store, without a trailing slash."""
        return (self.artifact_url or str(self.data_dir.absolute() / "artifacts")).rstrip("/")

    @property
    def datasets(self) -> Path:
        """Folder of downloaded and prepared datasets."""
        return self.data_dir.absolute() / "datasets"

    @property
    def tunings(self) -> Path:
        """File in which a worker remembers how networks run fastest on its machine."""
        return self.data_dir.absolute() / "tunings.json"

    @property
    def spool(self) -> Path:
        """Folder of what trainers reported and the recorder has not committed yet."""
        return self.data_dir.absolute() / "spool"

    @property
    def socket(self) -> Path:
        """Unix socket of the embedded Redis.

        In the data folder, or in a private folder under /tmp where the data folder's path is too long for a socket.
        """
        inside = self.data_dir.absolute() / "redis" / "redis.sock"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data_dir.absolute())).hexdigest()[:16]
        return Path(f"/tmp/runyard-{os.getuid()}") / f"{digest}.sock"

    @property
    def redis(self) -> str:
        """Address of Redis: the one that was set, or the embedded one's socket."""
        return self.redis_url or f"unix://{self.socket}"
