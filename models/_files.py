"""Imports architecture files: those of this package, and those in a user's folder."""

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from contextlib import redirect_stdout
from functools import partial
from hashlib import sha256
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

from models._check import check_counts, check_outputs
from models._registry import InvalidArchitecture, UnknownArchitecture, record_unloaded, registered_by, registering

_results: dict[Path, dict[str, str]] = {}


def discover(package: str, path: Iterable[str]) -> dict[str, str]:
    """Import every module of the package without a leading underscore; returns the errors of those that failed."""
    broken: dict[str, str] = {}
    for module in pkgutil.iter_modules(path):
        if module.name.startswith("_"):
            continue
        file = f"{package}/{module.name}.py"
        try:
            with registering(file):
                importlib.import_module(f"{package}.{module.name}")
        except Exception as error:
            broken[module.name] = _error_message(error, file)
    record_unloaded(broken)
    return broken


def load_path(folder: Path, run_forward: bool = True) -> dict[str, str]:
    """Import every .py file without a leading underscore from a folder outside this package, sorted by name.

    Returns a sentence, by file name without ".py", for each file that registers nothing: it cannot be imported, names
    an existing family, or its counts or logits do not match its networks. Whatever a file does, the rest are loaded
    (only KeyboardInterrupt passes through). An unreadable folder is an entry too. A second call for the same folder
    changes nothing: edits take effect in the next process.

    `run_forward` also runs every size forward to check the shape of its logits; the first time takes a process 1.3 s,
    which a process that trains a network anyway can skip.

    The files are modules of a separate package, so none can hide another module. `from ._blocks import Block` imports a
    neighbor. Nothing is written next to them, and what they print goes to stderr: a program may be reading stdout.
    """
    folder = Path(os.path.abspath(folder.expanduser()))
    if folder not in _results:
        with redirect_stdout(sys.stderr):
            _results[folder] = _load(folder, run_forward)
        record_unloaded(_results[folder])
    return dict(_results[folder])


def _load(folder: Path, run_forward: bool) -> dict[str, str]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith("_"))
    except OSError as error:
        reason = f"cannot read {folder} (RUNYARD_MODELS_PATH): {error.strerror}"
        return {_valid_utf8(folder.name or str(folder)): _valid_utf8(reason)}
    package = _package(folder, run_forward)
    broken: dict[str, str] = {}
    for file in files:
        try:
            if not file.is_file():
                raise InvalidArchitecture(f"{file.name} is not a file")
            if "." in file.stem:
                raise InvalidArchitecture("a module name cannot contain a dot; rename the file")
            importlib.import_module(f"{package}.{file.stem}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in one file must not end the process
            broken[_valid_utf8(file.stem)] = _error_message(error, str(file))
    return broken


def _package(folder: Path, run_forward: bool) -> str:
    """Create a package whose modules are the folder's files; returns its name."""
    package = ModuleType(f"architectures_{sha256(os.fsencode(folder)).hexdigest()[:12]}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    # The entry that Python uses to import from the folder: the folder itself stays off sys.path.
    loader = cast(Any, partial(_Loader, run_forward=run_forward))
    sys.path_importer_cache[str(folder)] = FileFinder(str(folder), (loader, SOURCE_SUFFIXES))
    return package.__name__


class _Loader(SourceFileLoader):
    """Executes a file, and keeps the families it registers if they pass the checks."""

    def __init__(self, fullname: str, path: str, run_forward: bool) -> None:
        super().__init__(fullname, path)
        self.run_forward = run_forward

    def get_code(self, fullname: str) -> CodeType:
        # Never use a bytecode cache, which records a file's age in whole seconds only, and never write one.
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        if Path(self.path).name.startswith("_"):
            super().exec_module(module)
            return
        source = _valid_utf8(self.path)
        with registering(source):
            super().exec_module(module)
            families = registered_by(source)
            if not families:
                raise InvalidArchitecture("the file registers no family; add register(Family(…)) at the end")
            for family in families:
                check_counts(family)
                if self.run_forward:
                    check_outputs(family)


def _error_message(error: BaseException, file: str) -> str:
    """The error raised while a file was loaded, with its line in the file."""
    if isinstance(error, InvalidArchitecture | UnknownArchitecture):
        return _valid_utf8(str(error))
    if isinstance(error, SyntaxError):
        where = f" (line {error.lineno})" if error.lineno else ""
        return _valid_utf8(f"{type(error).__name__}: {error.msg}{where}")
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    text = traceback.format_exception_only(error)[0].strip().splitlines()[0][:500]
    return _valid_utf8(f"{text} (line {lines[-1]})" if lines else text)


def _valid_utf8(text: str) -> str:
    # File names that are not UTF-8 contain lone surrogates, which JSON cannot carry.
    return text.encode("utf-8", "replace").decode()
