"""Names of files and addresses that point out of their folder, for every route that takes one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.routing import Mount
from starlette.testclient import TestClient

from tests.app.web.walk import leaves, methods_of, parameters
from tests.corpora.addresses import fill_address
from tests.filled_yard import FilledYard, fill
from tests.people import NAMES, bearer

SECRET: Final = "only-the-owner-of-this-machine-may-read-this"
OUTWARD: Final = (
    *("{}", "../{}", "../../{}", "../../../{}", "../../../../{}", "../../../../../{}", "a/../../../../{}"),
    *("./../../{}", "..\\..\\..\\{}", "....//....//{}", "..%2f..%2f..%2f{}", "%2e%2e/%2e%2e/%2e%2e/{}"),
    *("..%252f..%252f{}", "..%c0%af{}", "{absolute}", "/{absolute}", "file://{absolute}", "C:\\{}", "~/{}"),
    *("link/{}", "link", "model/../link", "{}\0.txt"),
)
"""Ways to a file outside, named ``{}``; ``link`` is a symbolic link to its folder."""


@pytest.fixture
def yard(server: FastAPI, client: TestClient, tmp_path: Path) -> FilledYard:
    """A filled yard beside a secret, with symbolic links to its folder in all folders of files."""
    found = fill(server, client)
    (tmp_path / "secret.txt").write_text(SECRET)
    parts = found.parts
    folders = [folder for top in (Path(parts.settings.artifacts), parts.settings.datasets) for folder in top.rglob("*")]
    for folder in [folder for folder in folders if folder.is_dir()]:
        (folder / "link").symlink_to(tmp_path)
    return found


def ways(tmp_path: Path) -> Iterator[str]:
    """Names that lead to the secret, as they are and encoded."""
    for way in OUTWARD:
        yield way.replace("{}", "secret.txt").replace("{absolute}", str(tmp_path / "secret.txt"))


def requests(app: Any, yard: FilledYard, way: str) -> Iterator[tuple[str, str]]:
    """Each route with this name in one of its parameters: method and address."""
    for route in leaves(app):
        if isinstance(route, Mount):
            yield "GET", f"{route.path}/{quote(way)}"
            yield "GET", f"{route.path}/{way}".replace("\0", "%00")
            continue
        if not hasattr(route, "dependant") or str(route.path).endswith("/events"):
            continue
        taken = [(place, name) for place, name, kind, _ in parameters(route)]
        for method in sorted(methods_of(route) - {"HEAD"}):
            for place, name in taken or [("", "")]:
                if place == "path":
                    marked = route.path.replace(f"{{{name}:path}}", "WAY").replace(f"{{{name}}}", "WAY")
                    address = fill_address(marked, yard)
                    yield method, address.replace("WAY", quote(way, safe=""))
                    yield method, address.replace("WAY", quote(way, safe="/\\%"))
                elif name in ("file", "path", "under", "source", "picture", "version", "name"):
                    filled = fill_address(route.path, yard)
                    yield method, filled + f"?{name}={quote(way)}"
            if "{path" in route.path or "get-artifact" in route.path or "artifacts" in route.path:
                script = yard.ids["script run"][0]
                address = fill_address(route.path.replace("{path:path}", f"0/{script}/artifacts/WAY"), yard)
                for written in (quote(way, safe=""), quote(way, safe="/\\%")):
                    query = f"?run_id={script}&run_uuid={script}&path={quote(way)}"
                    yield method, address.replace("WAY", written) + query


def files_outside(tmp_path: Path) -> dict[str, bytes]:
    """Files that no route may touch."""
    found = [path for path in tmp_path.iterdir() if path.is_file()]
    found += [path for path in (tmp_path / "data").iterdir() if path.name == "exec.key"]
    return {str(path): path.read_bytes() for path in found}


def test_no_name_leads_out_of_its_folder(server: FastAPI, client: TestClient, yard: FilledYard, tmp_path: Path) -> None:
    headers = bearer(yard.parts, NAMES["administrator"])
    key = (yard.parts.settings.data_dir / "exec.key").read_bytes().strip()
    before, sent = files_outside(tmp_path), 0
    # Readers first: what changes something takes away what they could have found.
    every = list(itertools.chain.from_iterable(requests(server, yard, way) for way in ways(tmp_path)))
    for method, address in sorted(every, key=lambda each: each[0] != "GET"):
        if method == "GET" or "/files/" in address or "artifacts" in address:
            sending: dict[str, Any] = {} if method == "GET" else {"content": b"overwritten"}
            answer = client.request(method, address, headers=headers, follow_redirects=False, **sending)
            assert answer.status_code < 500 or answer.status_code == 501, (method, address)
            assert SECRET.encode() not in answer.content, (method, address)
            assert key not in answer.content, (method, address)
            sent += 1
    assert sent > 2000
    assert files_outside(tmp_path) == before


def test_a_path_of_an_import_is_followed_to_where_it_really_leads(
    server: FastAPI, client: TestClient, yard: FilledYard, tmp_path: Path
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "out").symlink_to(tmp_path)
    yard.parts.imports.allowed = [allowed]
    headers = bearer(yard.parts, NAMES["administrator"])
    for way in ("out", "out/data", "../data", "out/../../data", "."):
        form = {"name": "stolen", "path": f"{allowed}/{way}"}
        files = [(name, (None, value)) for name, value in form.items()]
        answer = client.post("/api/v1/datasets", files=files, headers=headers)
        assert answer.status_code == (202 if way == "." else 422), (way, answer.text)
