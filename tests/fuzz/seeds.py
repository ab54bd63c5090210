"""Requests that work, one or more for each route: what the fuzzer changes until nobody would mean it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx2
from starlette.routing import Mount

from app.main import API_PREFIX
from app.web.openapi_examples import OPERATIONS, OTHER_ID, RUN_ID
from tests.app.web.walk import leaves, matched, methods_of, parameters

MOST_FORMS: Final = 8
"""Forms and links that are kept for each route."""
NOT_CRAWLED: Final = ("/static", "/launch/augmented", "/openapi.json", "/metrics")
"""What has no forms, or takes long."""
KINDS: Final[Mapping[str, str]] = {
    "run_id": "run",
    "within": "script run",
    "run": "run",
    "runs": "run",
    "sweep_id": "sweep",
    "sweep": "sweep",
    "view_id": "view",
    "webhook_id": "webhook",
    "rule_id": "rule",
    "token_id": "token",
    "job_id": "job",
    "model_id": "logged model",
    "experiment_id": "experiment",
    "experiment_ids": "experiment",
    "path": "file",
    "artifact_directory_path": "file",
    "with": "run",
    "other": "run",
    "metric_key": "metric",
    "metric": "metric",
    "names": "metric",
    "name": "registered model",
    "run_uuid": "run",
    "source_run_id": "script run",
}
"""What the value of a parameter is the name of."""
NAMES: Final = (
    ("/datasets/imports", "import"),
    ("/dataset-imports", "import"),
    ("/datasets", "dataset"),
    ("/programs", "program"),
    ("/api/v1/models", "alias"),
    ("/models", "alias"),
    ("/admin/people", "person"),
    ("/api/v1/users", "person"),
    ("/histograms", "histogram"),
    ("/texts", "text"),
    ("/api/2.0", "registered model"),
)
"""What ``name`` and ``number`` are the name of, by a part of the address."""
MLFLOW_FIELDS: Final[Mapping[str, Any]] = {
    "key": "k",
    "value": "0.5",
    "step": 3,
    "timestamp": 1_700_000_000_000,
    "filter": "metrics.metric > 0.1",
    "filter_string": "name LIKE '%a%'",
    "max_results": 5,
    "order_by": ["metrics.metric DESC", "attributes.start_time"],
    "page_token": "x",
    "metrics": [{"key": "m", "value": 0.5, "step": 1, "timestamp": 1_700_000_000_000}],
    "params": [{"key": "p", "value": "1"}],
    "tags": [{"key": "t", "value": "1"}],
    "status": "FINISHED",
    "end_time": 1_700_000_009_000,
    "start_time": 1_700_000_000_000,
    "new_name": "another",
    "run_name": "fuzzed",
    "user_id": "u",
    "view_type": "ALL",
    "run_view_type": "ACTIVE_ONLY",
    "version": "1",
    "alias": "champion",
    "description": "d",
    "datasets": [{"dataset": {"name": "a", "digest": "b", "source": "c", "source_type": "d"}}],
    "models": [{"model_id": "m-1", "step": 1}],
    "num_parts": 2,
    "parts": [{"part_number": 1, "etag": "a"}],
    "upload_id": "0123456789abcdef",
    "source": "models:/m-1",
    "stages": ["None"],
    "tag_key": "t",
    "lifecycle_stage": "active",
    "model_type": "t",
    "artifact_location": "",
}


@dataclass
class Seed:
    """A request that works; ``{run.0}`` in a text stands for the first run. ``form`` or ``json``, or ``raw`` bytes."""

    method: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    form: list[tuple[str, str]] | None = None
    json: Any = None
    raw: bytes | None = None


@dataclass
class RouteSeeds:
    """A route and the requests that reach it; ``fields``: names of what it takes in its query or its form."""

    path: str
    methods: list[str]
    seeds: list[Seed]
    fields: list[tuple[str, str]]


class _Found(HTMLParser):
    """The forms and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, str, list[tuple[str, str]]]] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found.get("method", "get").upper(), found.get("action", ""), []))
        elif tag in ("input", "select", "textarea", "button") and self.forms and found.get("name"):
            self.forms[-1][2].append(
                (found["name"], found.get("value", "on" if found.get("type") == "checkbox" else ""))
            )
        for name in ("href", "hx-get", "src", "data-url"):
            if found.get(name, "").startswith("/") and tag != "base":
                self.links.append(found[name])


def _kind(name: str, path: str) -> str:
    if name in ("name", "number"):
        return next((kind for part, kind in NAMES if part in path), "run")
    return KINDS.get(name, "")


def _parameter(path: str) -> Any:
    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name == "format":
            return {"runs": "csv", "curves": "json"}.get(path.rpartition("/")[2].partition(".")[0], "csv")
        kind = "import" if name == "number" and ":int" not in match[0] else _kind(name, path)
        return f"{{{kind}.0}}" if kind else "1"

    return fill


def _sample(name: str, kind: Any, path: str) -> str:
    if name in ("with", "other", "run"):
        return "{run.1}"
    if name == "runs":
        return "{run.0},{run.1}"
    found = _kind(name, path)
    if found:
        return f"{{{found}.0}}"
    if name in ("q", "sort", "group", "by", "q_"):
        return {"q": "status:succeeded", "sort": "-test/acc", "group": "family", "by": "variant"}.get(name, "")
    return "1" if "int" in str(kind) or "float" in str(kind) else ""


def routes(app: Any) -> Iterator[RouteSeeds]:
    """Every route of the application with a request that its parameters and the API's examples make."""
    for route in leaves(app):
        if isinstance(route, Mount):
            yield RouteSeeds(route.path, ["GET"], [Seed("GET", f"{route.path}/runyard.css")], [])
            continue
        path = str(route.path)
        filled = re.sub(r"{([^}:]+)[^}]*}", _parameter(path), path)
        wanted = list(parameters(route)) if hasattr(route, "dependant") else []
        fields = [(place, name) for place, name, _, _ in wanted if place in ("query", "body")]
        seeds = []
        for method in sorted(methods_of(route) - {"HEAD"}):
            query = [(name, _sample(name, kind, path)) for place, name, kind, _ in wanted if place == "query"]
            seed = Seed(method, filled, [(name, value) for name, value in query if value])
            if "/api/2.0/mlflow" in path:
                found: dict[str, Any] = dict(MLFLOW_FIELDS)
                found |= {
                    name: f"{{{kind}.0}}" for name, kind in KINDS.items() if name not in ("with", "other", "runs")
                }
                found["experiment_ids"] = ["0"]
                if method == "GET":
                    seed.query = [(name, str(value)) for name, value in found.items()]
                else:
                    seed.json = found
            elif path.startswith(API_PREFIX):
                key = (method, path.removeprefix(API_PREFIX).replace(":path}", "}"))
                seed.json = _with_names(OPERATIONS[key].body) if key in OPERATIONS else None
            elif method == "POST":
                seed.form = [(name, _sample(name, kind, path)) for place, name, kind, _ in wanted if place == "body"]
            seeds.append(seed)
        yield RouteSeeds(path, sorted(methods_of(route)), seeds, fields)


def _with_names(body: Any) -> Any:
    return json.loads(json.dumps(body).replace(RUN_ID, "{run.0}").replace(OTHER_ID, "{run.1}"))


def crawl(
    client: httpx2.Client, app: Any, found: list[RouteSeeds], ids: Mapping[str, list[str]], headers: Mapping[str, str]
) -> None:
    """Read every page as an administrator, and add the forms and links on them to the seeds of their routes."""
    by_path = {each.path: each for each in found}
    every = list(leaves(app))
    pages = [
        seed for each in found for seed in each.seeds if seed.method == "GET" and not seed.path.startswith("/api/")
    ]
    for page in pages:
        if page.path.startswith(NOT_CRAWLED) or page.path.endswith(".png"):
            continue
        answer = client.get(fill(page.path, ids), params=[(k, fill(v, ids)) for k, v in page.query], headers=headers)
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        read = _Found()
        read.feed(answer.text)
        wanted = [(method, action, fields) for method, action, fields in read.forms]
        wanted += [("GET", link, []) for link in read.links]
        for method, target, fields in wanted:
            address = urlsplit(target or page.path)
            route = matched(every, method, address.path)
            if route is None or isinstance(route, Mount) or str(route.path) not in by_path:
                continue
            seeds = by_path[str(route.path)]
            if len(seeds.seeds) >= MOST_FORMS:
                continue
            pairs = [(name, _named(value, ids)) for name, value in (*parse_qsl(address.query), *fields)]
            seed = Seed(
                method, _named(address.path, ids), pairs if method == "GET" else [], pairs if method != "GET" else None
            )
            if not any(other.method == seed.method and _names(other) == _names(seed) for other in seeds.seeds):
                seeds.seeds.append(seed)


def _names(seed: Seed) -> list[str]:
    return [name for name, _ in (*seed.query, *(seed.form or []))]


def _named(value: str, ids: Mapping[str, list[str]]) -> str:
    """Write names in place of the IDs of this yard."""
    for kind, known in ids.items():
        for i, each in enumerate(known):
            if len(each) > 8:
                value = value.replace(each, f"{{{kind}.{i}}}")
    return value


def fill(value: str, ids: Mapping[str, list[str]]) -> str:
    """Write the IDs of a yard in place of their names."""

    def find(match: re.Match[str]) -> str:
        known = ids.get(match[1], [])
        return known[int(match[2]) % len(known)] if known else "1"

    return re.sub(r"{([a-z ]+)\.(\d+)}", find, value)


def fill_json(value: Any, ids: Mapping[str, list[str]]) -> Any:
    """The same in all texts of a body."""
    return json.loads(fill(json.dumps(value), ids)) if value is not None else None
