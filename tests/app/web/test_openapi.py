"""The document that describes the API: names, examples that hold, and a client that is generated from it and works."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from app.actions.live_changes import meaning
from app.analysis.importance import METHOD
from app.contract.spec import RunConfig
from app.routes import routers
from app.store import epoch_time
from app.store.waiting_reason import why_waiting
from app.web.openapi_examples import CONFIG, OPERATIONS
from tests.conftest import Runs
from tests.served import serving

VERBS = (
    *("launch", "list", "read", "edit", "delete", "restore", "follow", "cancel", "retry", "resume", "clone", "fork"),
    *(
        "verify",
        "preview",
        "stop",
        "extend",
        "pause",
        "move",
        "compare",
        "create",
        "apply",
        "try",
        "export",
        "import",
        "use",
        "change",
        "predict",
        "log",
    ),
)


def routes() -> dict[tuple[str, str], APIRoute]:
    """Every route of the API by method and path."""
    found: dict[tuple[str, str], APIRoute] = {}
    for api, _ in routers():
        for route in api.routes if api is not None else []:
            assert isinstance(route, APIRoute)
            # The document names a path inside of a path as any other parameter.
            path = route.path.replace(":path}", "}")
            found |= {(method, path): route for method in route.methods or ()}
    return found


def test_every_route_has_a_name_of_its_own_that_reads_as_a_verb() -> None:
    assert set(OPERATIONS) == set(routes())
    names = [each.name for each in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(rf"({'|'.join(VERBS)})(_[a-z]+)+", name)] == []


def test_every_body_and_every_answer_has_an_example_that_the_route_itself_would_take() -> None:
    for key, route in routes().items():
        known = OPERATIONS[key]
        if route.body_field is None:
            assert known.body is None, key
        else:
            route.body_field._type_adapter.validate_json(json.dumps(known.body))
        if route.response_model is None:
            assert known.answer is None, key
        else:
            answer = json.loads(json.dumps(known.answer))
            read: Any = TypeAdapter(route.response_model).validate_python(answer)
            said = TypeAdapter(route.response_model).dump_python(read, mode="json")
            assert _unknown(answer, said) == [], key


def _unknown(example: Any, said: Any, path: str = "") -> list[str]:
    """What an example has and the answer has not."""
    if isinstance(example, dict):
        missing = [f"{path}.{name}" for name in example if name not in said]
        return missing + [
            each for name in example if name in said for each in _unknown(example[name], said[name], name)
        ]
    if isinstance(example, list):
        return [each for one, other in zip(example, said, strict=True) for each in _unknown(one, other, path)]
    return []


def test_the_document_has_the_names_and_the_examples(server: FastAPI) -> None:
    document = server.openapi()
    assert document is server.openapi()
    launch = document["paths"]["/api/v1/runs"]["post"]
    assert (launch["operationId"], launch["summary"]) == ("launch_run", "Launch run")
    assert launch["requestBody"]["content"]["application/json"]["example"]["family"] == "simple_cnn"
    assert launch["responses"]["201"]["content"]["application/json"]["example"]["status"] == "queued"
    assert launch["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    # What may be left out is not sent as null.
    resume = document["paths"]["/api/v1/runs/{run_id}/resume"]["post"]["requestBody"]
    assert "anyOf" not in resume["content"]["application/json"]["schema"]
    assert not resume.get("required", False)


@pytest.fixture
def generated(server: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client that openapi-python-client made of the document, as a package."""
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(server.openapi()))
    name = "generated_client"
    settings = tmp_path / "settings.yml"
    # Its own formatting of the code takes longer than all the rest and changes nothing that it does.
    settings.write_text(json.dumps({"package_name_override": name, "post_hooks": []}))
    words = [
        "--path",
        str(document),
        "--config",
        str(settings),
        "--meta",
        "none",
        "--output-path",
        str(tmp_path / name),
    ]
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(name)
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def test_a_client_that_is_generated_from_it_launches_and_reads_runs(
    generated: Any, server: FastAPI, runs: Runs
) -> None:
    def part(name: str) -> Any:
        return importlib.import_module(f"generated_client.{name}")

    models = part("models")
    with serving(server) as url, generated.Client(base_url=url) as client:
        spec = models.RunSpec(family="vit", size="tiny", epochs=3, tags=["made"])
        run = part("api.runs.launch_run").sync(client=client, body=spec, idempotency_key="once")
        assert isinstance(run, models.RunOut)
        assert (run.status, run.spec.family, run.spec.epochs, run.tags) == ("queued", "vit", 3, ["made"])
        again = part("api.runs.launch_run").sync(client=client, body=spec, idempotency_key="once")
        assert again.id == run.id
        assert runs.sql("SELECT id FROM run") == [(run.id,)]
        listed = part("api.runs.list_runs").sync(client=client, family=["vit"], sort="-number")
        assert [each.id for each in listed.runs] == [run.id]
        refused = part("api.runs.launch_run").sync(client=client, body=models.RunSpec(family="vitt"))
        assert isinstance(refused, models.Problem)
        assert refused.errors[0].field == "family"
        sweep = models.SweepSpec.from_dict({"base": {"family": "vit"}, "grid": {"size": ["tiny", "small"]}, "seeds": 2})
        made = part("api.sweeps.launch_sweep").sync(client=client, body=sweep)
        assert (made.planned, len(made.runs)) == (4, 4)
        stopped = part("api.runs.cancel_run").sync(run.id, client=client)
        assert stopped.status == "cancelled"
        cancelled = part("api.runs.cancel_runs").sync(client=client, body=models.CancelIn(sweep=made.id))
        assert len(cancelled.cancelled) == 4
        workers = part("api.workers.list_workers").sync_detailed(client=client)
        assert (workers.status_code, workers.parsed.workers) == (200, [])
        deleted = part("api.runs.delete_run").sync_detailed(run.id, client=client)
        assert deleted.status_code == 204


def test_texts_in_the_examples_are_those_of_the_code() -> None:
    sweep, preview = OPERATIONS["GET", "/sweeps/{sweep_id}"].answer, OPERATIONS["POST", "/preview"].answer
    assert sweep["importance_method"] == METHOD
    change = OPERATIONS["POST", "/runs/{run_id}/changes"].answer
    assert change["sentence"] == meaning("lr_factor", RunConfig.model_construct(**CONFIG, warmup=0.0))
    assert preview["predictions"][0]["basis"] in inspect.getsource(epoch_time)
    worker = SimpleNamespace(takes=lambda *_: True, lacks_space=False, free_slots=0, slots=1)
    run = SimpleNamespace(device_wanted="auto", worker_wanted="", executed=False)
    why: Any = why_waiting
    assert OPERATIONS["GET", "/queue"].answer["runs"][0]["why"] == why(run, 0, [worker])
    assert OPERATIONS["GET", "/notices"].answer["notices"][0]["sentence"].endswith(" finished")
