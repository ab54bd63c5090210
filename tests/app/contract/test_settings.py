"""Settings are read from the environment and described, and errors name the invalid setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.settings import Settings


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("data_dir", "/srv/yard", Path("/srv/yard")),
        ("host", "127.0.0.2", "127.0.0.2"),
        ("port", "0", 0),
        ("slots", "4", 4),
        ("device", "cuda:1", "cuda:1"),
        ("redis_url", "redis://r:6379/1", "redis://r:6379/1"),
        ("database_url", "postgresql://x", "postgresql://x"),
        ("artifact_url", "s3://bucket/yard/", "s3://bucket/yard/"),
        ("behind_loopback_publish", "1", True),
        ("allowed_hosts", "yard.local, other", "yard.local, other"),
        ("lease_seconds", "2.5", 2.5),
        ("max_attempts", "5", 5),
        ("trash_days", "0", 0.0),
    ],
)
def test_a_setting_is_read_from_its_environment_variable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"RUNYARD_{name.upper()}", text)
    assert getattr(Settings(), name) == value


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("port", "web", "integer"),
        ("port", "70000", "65535"),
        ("slots", "0", "1"),
        ("device", "tpu", "cuda:1"),
        ("device", "cuda:x", "cuda:1"),
        ("heartbeat_seconds", "-1", "greater than 0"),
        ("lease_seconds", "0", "greater than 0"),
        ("behind_loopback_publish", "perhaps", "boolean"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_should_be(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, text: str, word: str
) -> None:
    monkeypatch.setenv(f"RUNYARD_{name.upper()}", text)
    with pytest.raises(ValidationError) as caught:
        Settings()
    (error,) = caught.value.errors()
    assert error["loc"] == (name,)
    assert word in error["msg"]


def test_what_is_not_set_lies_in_the_data_folder(tmp_path: Path) -> None:
    found = Settings(data_dir=tmp_path, redis_url=None, database_url=None, artifact_url=None)
    assert found.database == f"sqlite:///{tmp_path}/runyard.db"
    assert found.artifacts == f"{tmp_path}/artifacts"
    assert found.redis == f"unix://{tmp_path}/redis/redis.sock"
    assert {found.datasets, found.spool, found.socket.parent.parent} == {
        tmp_path / "datasets",
        tmp_path / "spool",
        tmp_path,
    }


def test_addresses_of_other_machines_are_taken_as_they_are() -> None:
    text: dict[str, Any] = {"redis_url": "redis://r", "database_url": "postgresql://p", "artifact_url": "s3://b/x/"}
    found = Settings(**text)
    assert (found.redis, found.database, found.artifacts) == ("redis://r", "postgresql://p", "s3://b/x")
