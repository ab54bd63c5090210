"""The imports of app/, worker/ and models/: what the structure test checks and docs/architecture.svg shows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = frozenset({"app", "worker", "models"})


@dataclass(frozen=True)
class Import:
    """One import of a module; ``lazy`` if it is inside a function."""

    file: str
    module: str
    lazy: bool

    @property
    def root(self) -> str:
        return self.module.split(".")[0]


def imports(folder: str) -> Iterator[Import]:
    """All imports of a folder's files, subfolders included."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield from imports_in(ast.parse(path.read_text()), str(path.relative_to(ROOT)))


def imports_in(node: ast.AST, file: str, lazy: bool = False) -> Iterator[Import]:
    """All imports of a syntax tree."""
    match node:
        case ast.Import():
            yield from (Import(file, alias.name, lazy) for alias in node.names)
        case ast.ImportFrom():
            assert node.level == 0, f"{file} has a relative import"
            module = node.module or ""
            # "from app.store import run" imports a module; "from app.store.run import Run" imports a name from one.
            for alias in node.names:
                name = f"{module}.{alias.name}"
                yield Import(file, name if _is_module(name) else module, lazy)
    for child in ast.iter_child_nodes(node):
        yield from imports_in(child, file, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_name(f"{path.name}.py").exists()


def modules() -> dict[str, Path]:
    """All modules with their files, by dotted name."""
    paths = [path for package in sorted(PACKAGES) for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def import_graph() -> dict[str, set[str]]:
    """All modules with the modules that they import anywhere, including inside functions and for types only."""
    files = modules()
    return {
        name: {each.module for each in imports_in(ast.parse(path.read_text()), name) if each.module in files} - {name}
        for name, path in files.items()
    }


def folder_of(module: str) -> str:
    """The dotted name of a module's folder; a package is its own folder."""
    return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


def folder_graph() -> dict[str, set[str]]:
    """All folders with the other folders that their files import."""
    graph: dict[str, set[str]] = {}
    for module, imported in import_graph().items():
        folder = folder_of(module)
        graph.setdefault(folder, set()).update({folder_of(each) for each in imported} - {folder})
    return graph
