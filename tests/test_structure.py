"""Import rules: which folder may import which, that no import runs in a circle, and what is never imported where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from docs.imports import PACKAGES, ROOT, Import, folder_graph, import_graph, imports, imports_in

INSPECTION = ("__main__", "network", "trace", "fake_tensor_cache", "layer_names", "blocks")
INSIDE = [Path("app/inspection") / f"{name}.py" for name in INSPECTION]
SOURCES = {".py", ".js", ".css", ".html"}
HEAVY = {"torch", "torchvision", "lightning", "timm"}


def outside(folder: str) -> list[Import]:
    """Imports of what is neither ours nor of the standard library."""
    return [each for each in imports(folder) if each.root not in sys.stdlib_module_names | PACKAGES | {"__future__"}]


def test_the_walk_sees_every_kind_of_import() -> None:
    tree = ast.parse("import a.b\nfrom app.store import run\nfrom c.d import e\ndef f():\n    import torch\n")
    found = {(each.module, each.lazy) for each in imports_in(tree, "x")}
    assert found == {("a.b", False), ("app.store.run", False), ("c.d", False), ("torch", True)}
    for folder in PACKAGES:
        assert len(list(imports(folder))) > 20


def test_models_import_torch_and_themselves() -> None:
    assert {each.root for each in outside("models")} <= {"torch"}
    assert {each.root for each in imports("models") if each.root in PACKAGES} <= {"models"}


def test_the_contract_imports_pydantic_and_nothing_of_ours() -> None:
    for each in outside("app/contract"):
        allowed = {"pydantic", "pydantic_core", "pydantic_settings"}
        allowed |= {"celery"} if each.file == "app/contract/broker.py" else set()
        allowed |= {"numpy", "safetensors"} if each.file == "app/contract/predictions.py" else set()
        allowed |= {"numpy"} if each.file == "app/contract/packed_steps.py" else set()
        assert each.root in allowed, each
    ours = [each for each in imports("app/contract") if each.root in PACKAGES]
    assert ours
    assert [each for each in ours if not each.module.startswith("app.contract")] == []


def test_the_worker_imports_of_ours_only_contract_and_models() -> None:
    ours = [each for each in imports("worker") if each.root in {"app", "models"}]
    assert ours
    assert [each for each in ours if each.root == "app" and not each.module.startswith("app.contract")] == []


def test_the_worker_knows_no_database_and_no_web_server() -> None:
    assert {each.root for each in outside("worker")} & {
        "sqlalchemy",
        "sqlmodel",
        "alembic",
        "fastapi",
        "starlette",
    } == set()


def test_only_tasks_knows_celery_in_the_worker() -> None:
    assert {each.file for each in outside("worker") if each.root in {"celery", "kombu"}} <= {"worker/tasks.py"}


def test_the_server_never_imports_the_worker() -> None:
    assert [each for each in imports("app") if each.root == "worker"] == []


def test_the_server_imports_torch_only_inside_the_inspectors_own_process() -> None:
    heavy = [each for each in imports("app") if each.root in HEAVY | {"models"}]
    assert {each.root for each in heavy} == {"torch", "models"}
    # What the server reads the process's answers with is the package itself, and no module of it.
    assert {each.file for each in heavy} <= {str(path) for path in INSIDE}
    outside = [each for each in imports("app") if not each.file.startswith("app/inspection/")]
    assert [each for each in outside if each.module.startswith("app.inspection.")] == []


def test_the_store_knows_no_requests() -> None:
    found = list(imports("app/store"))
    ours = {each.module for each in found if each.root == "app"}
    assert ours
    assert [module for module in ours if not module.startswith(("app.store", "app.contract"))] == []
    assert {each.root for each in found} & {"fastapi", "starlette", "redis", "celery", "jinja2"} == set()


# Folders and circles --------------------------------------------------------------------------------------------------

LAYERS = (
    {"app.contract", "models"},
    {"app.store", "worker.reporting"},
    {"app.store.search", "app.store.migrations", "app.sweeps", "app.inspection", "worker"},
    {"app.services", "worker.data.importing", "worker.commands"},
    {"worker.data"},
    {"app.web", "worker.training"},
    {"app.analysis", "app.formats", "worker.inference", "worker.exporting"},
    {"app.charts", "app.actions", "worker.model_jobs"},
    {"app.routes.launch"},
    {
        "app.routes.runs",
        "app.routes.sweeps",
        "app.routes.architectures",
        "app.routes.mlflow",
        "app.routes.notifications",
        "app.routes.datasets",
        "app.routes.predictions",
        "app.routes.people",
    },
    {"app.routes.compare"},
    {"app.routes"},
    {"app"},
    {"app.cli"},
)
"""The folders of the code, lowest first. A folder imports only from itself and from layers below its own."""


def circle_in(graph: Mapping[str, set[str]]) -> tuple[str, ...]:
    """One circle of a graph; empty where it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return tuple(error.args[1])
    return ()


def test_a_circle_is_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set()}) == ()
    assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = import_graph()
    assert len(graph) > 200
    assert circle_in(graph) == ()


def test_no_folders_import_each_other_in_a_circle() -> None:
    graph = folder_graph()
    assert {"app.store", "app.store.search", "worker.training", "models"} <= set(graph)
    assert circle_in(graph) == ()


def test_imports_between_folders_run_downwards() -> None:
    level = {folder: i for i, layer in enumerate(LAYERS) for folder in layer}
    graph = folder_graph()
    assert set(graph) - {"app.store.migrations.versions"} == set(level)
    upward = [(a, b) for a, below in graph.items() for b in below if level.get(b, -1) >= level.get(a, -1)]
    assert upward == []


def test_no_loose_modules_lie_at_the_root_of_a_package() -> None:
    assert {path.name for path in (ROOT / "app").glob("*.py")} == {"__init__.py", "main.py"}
    assert len(list((ROOT / "worker").glob("*.py"))) <= 13


LONGEST = 450


def test_every_file_can_be_read_in_one_sitting() -> None:
    folders = ("app", "worker", "models", "static", "templates", "tests", "bench", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files if "vendor/" not in str(path)
    }
    assert len(lengths) > 400
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_tests_mirror_the_source() -> None:
    """A test of app/store/run.py is tests/app/store/test_run.py, or begins with that name: test_run_states.py."""
    for package in ("app", "worker", "models"):
        for path in (ROOT / "tests" / package).rglob("test_*.py"):
            folder = ROOT / path.parent.relative_to(ROOT / "tests")
            assert folder.is_dir(), f"{path.relative_to(ROOT)} tests nothing that is there"


def test_importing_the_server_package_does_nothing() -> None:
    assert (ROOT / "app" / "__init__.py").read_text() == ""


@pytest.mark.parametrize("folder", ["app", "worker", "models"])
def test_nothing_is_called_utils_or_helpers(folder: str) -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [path for path in (ROOT / folder).rglob("*.py") if path.stem.strip("_") in vague] == []


def test_nothing_is_unpickled() -> None:
    for each in [*imports("app"), *imports("worker"), *imports("models")]:
        if each.root in {"pickle", "marshal", "shelve", "dill", "cloudpickle"}:
            # CIFAR's own files are pickles, read once their published checksum has been found right; an importer and
            # the processes that it started send each other objects through pipes of their own.
            pipes = ("worker/data/importing/pool.py", "worker/data/importing/reader_process.py")
            assert each.file in ("worker/data/dataset_readers.py", *pipes), each


@pytest.mark.parametrize("folder", ["app", "worker", "models"])
def test_every_module_says_what_it_is_for(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        if path.stem != "__init__":
            assert ast.get_docstring(ast.parse(path.read_text())), path
