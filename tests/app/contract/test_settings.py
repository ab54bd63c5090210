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


# Others who sign people in --------------------------------------------------------------------------------------------

PROVIDER: dict[str, Any] = {"oidc_issuer": "https://login.example.org", "oidc_client_id": "yard"}
PROXY: dict[str, Any] = {"proxy_user_header": "X-Remote-User", "trusted_proxies": "127.0.0.1"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"oidc_issuer": "http://login.example.org"}, "a URL with https"),
        ({"oidc_issuer": "login.example.org"}, "a URL with https"),
        ({"oidc_issuer": "https://login.example.org?x=1"}, "a URL with https"),
        ({"oidc_issuer": "https://"}, "a URL with https"),
        ({"oidc_client_id": ""}, "needs RUNYARD_OIDC_CLIENT_ID"),
        ({"oidc_client_secret": "sécret"}, "printable ASCII"),
        ({"oidc_scopes": "profile email"}, "must contain openid"),
        ({"oidc_roles": "lab"}, "must have rules"),
        ({"oidc_name_claim": ""}, "at least 1"),
    ],
)
def test_a_provider_that_cannot_be_used_is_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings(**(PROVIDER | changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"trusted_proxies": ""}, "needs RUNYARD_TRUSTED_PROXIES"),
        ({"proxy_user_header": "X_User"}, "the name of a header"),
        ({"proxy_user_header": "X-User\r\nX: y"}, "the name of a header"),
        *(
            ({"proxy_user_header": name}, "of its own")
            for name in ("Host", "COOKIE", "authorization", "X-Forwarded-For")
        ),
    ],
)
def test_a_header_of_a_proxy_that_cannot_be_used_is_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings(**(PROXY | changes))


def test_whoever_lets_others_sign_people_in_lets_nobody_else_in() -> None:
    nobody: dict[str, Any] = {}
    for settings, required in ((nobody, False), (PROVIDER, True), (PROXY, True)):
        assert Settings(**settings).everyone_signs_in is required


def test_the_secret_is_not_printed() -> None:
    found = Settings(**PROVIDER, oidc_client_secret="s3cret")
    assert "s3cret" not in f"{found!r} {found} {found.model_dump()}"
    assert found.oidc_client_secret is not None
    assert found.oidc_client_secret.get_secret_value() == "s3cret"
