"""The client's module: its imports, its two variants, its requests and its help."""

from __future__ import annotations

import ast
import inspect
import os
import pydoc
import re
import shutil
import subprocess
import sys
from pathlib import Path

from fastapi import FastAPI

import runyard
from app.store.run import TERMINAL
from runyard import AsyncRunyard, Run, Runyard

FILE = Path(runyard.__file__)


def test_it_imports_httpx_and_nothing_of_ours() -> None:
    tree = ast.parse(FILE.read_text())
    found = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert found - set(sys.stdlib_module_names) - {"__future__"} == {
        "httpx",
        "lightning",
        "numpy",
        "pandas",
        "_runyard",
    }
    optional = [node for node in tree.body if isinstance(node, ast.Import) and node.names[0].name != "httpx"]
    assert {each.names[0].name for each in optional} <= set(sys.stdlib_module_names)


def test_it_can_be_imported_wherever_runyard_is_installed(tmp_path: Path) -> None:
    code = "import runyard; print(runyard.__file__); from runyard import Runyard, AsyncRunyard"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).samefile(FILE)


def test_a_copy_of_the_file_alone_says_that_it_has_no_commands(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    # Not isolated from installed packages, so _runyard is hidden: an import of None raises ModuleNotFoundError.
    code = "import sys; sys.modules['_runyard'] = None; import runyard; print(runyard.__file__); runyard.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=_bare())
    assert Path(done.stdout.strip()).samefile(tmp_path / "runyard.py")
    assert done.returncode == 1
    assert done.stderr.startswith("runyard: only the Python client is available here. Install Runyard")
    assert done.stderr.count("\n") == 1


QUOTES = "'\""


def _bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    for plain, later in (
        (Runyard, AsyncRunyard),
        (runyard.Run, runyard.AsyncRun),
        (runyard.Sweep, runyard.AsyncSweep),
        (runyard.DatasetImport, runyard.AsyncDatasetImport),
    ):
        names = {name for name in dir(plain) if not name.startswith("_")}
        assert names == {name for name in dir(later) if not name.startswith("_")}
        for name in names:
            one, other = getattr(plain, name), getattr(later, name)
            if callable(one):
                assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters), name


def test_every_request_of_the_client_is_one_of_the_api(server: FastAPI) -> None:
    paths = server.openapi()["paths"]
    known = {(method.upper(), re.sub(r"{\w+}", "{}", path)) for path, methods in paths.items() for method in methods}
    sent = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        match node:
            case ast.Call(func=ast.Name("_Call"), args=[ast.Constant(method), path, *_]):
                sent.add((method, f"/api/v1{re.sub(r'{[^}]*}', '{}', ast.unparse(path).strip('f' + QUOTES))}"))
    assert len(sent) >= 30
    assert sent <= known


def test_help_shows_each_method_with_its_arguments() -> None:
    text = pydoc.plain(pydoc.render_doc(Runyard))
    assert re.search(
        r"launch\(self, /, \*, idempotency_key: .*\n[ |]+Launch a run with the fields of the launch form", text
    )
    assert "wait(self, timeout: " in pydoc.plain(pydoc.render_doc(Run))


def test_what_has_ended_is_every_terminal_state() -> None:
    assert set(runyard.ENDED) == set(TERMINAL)


def test_the_client_is_found_where_a_folder_of_the_same_name_lies_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "runyard").mkdir()
    script = tmp_path / "script.py"
    script.write_text("from runyard import Runyard\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
