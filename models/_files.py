"""The files that architectures are in: those of this package, and those of a folder outside that a user names."""

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

from models._check import recount, try_out
from models._registry import Refused, UnknownArchitecture, note_unloaded, registered_by, registering

_results: dict[Path, dict[str, str]] = {}


def discover(package: str, path: Iterable[str]) -> dict[str, str]:
    """Import every module of the package that has no leading underscore; returns the errors of those that failed."""
    broken: dict[str, str] = {}
    for module in pkgutil.iter_modules(path):
        if module.name.startswith("_"):
            continue
        file = f"{package}/{module.name}.py"
        try:
            with registering(file):
                importlib.import_module(f"{package}.{module.name}")
        except Exception as error:
            broken[module.name] = _sentence(error, file)
    note_unloaded(broken)
    return broken


def load_path(folder: Path, forwards: bool = True) -> dict[str, str]:
    """Import every .py file without a leading underscore of a folder outside this package, in the order of their names.

    Returns a sentence for each file, by its name without ".py", of which nothing is registered: it cannot be imported,
    names a family that exists, or gives counts or logits that are not those of its networks. Whatever a file does, the
    others are loaded (KeyboardInterrupt alone gets through). A folder that cannot be read is an entry too. A second
    call for the same folder changes nothing: what was edited since is loaded by the next process.

    `forwards` also runs every size forwards, to see the shape of its logits; the first time costs a process 1.3 s,
    which one that trains a network anyway can spare.

    The files are modules of a package of their own, so none can hide another module. `from ._blocks import Block`
    imports a neighbor. Nothing is written beside them, and what they print goes to the standard error stream: the
    standard output may be read by a program.
    """
    folder = Path(os.path.abspath(folder.expanduser()))
    if folder not in _results:
        with redirect_stdout(sys.stderr):
            _results[folder] = _load(folder, forwards)
        note_unloaded(_results[folder])
    return dict(_results[folder])


def _load(folder: Path, forwards: bool) -> dict[str, str]:
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix == ".py" and not each.name.startswith("_"))
    except OSError as error:
        reason = f"RUNYARD_MODELS_PATH names a folder that cannot be read, {folder}: {error.strerror}"
        return {_printable(folder.name or str(folder)): _printable(reason)}
    package = _package(folder, forwards)
    broken: dict[str, str] = {}
    for file in files:
        try:
            if not file.is_file():
                raise Refused(f"{file.name} is not a file")
            if "." in file.stem:
                raise Refused("the name of a module has no dot; rename the file")
            importlib.import_module(f"{package}.{file.stem}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in one file is no reason to end for all
            broken[_printable(file.stem)] = _sentence(error, str(file))
    return broken


def _package(folder: Path, forwards: bool) -> str:
    """A package whose modules are the folder's files; returns its name."""
    package = ModuleType(f"architectures_{sha256(os.fsencode(folder)).hexdigest()[:12]}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    # Where Python looks up who imports from a folder: the folder itself stays off sys.path.
    loader = cast(Any, partial(_Loader, forwards=forwards))
    sys.path_importer_cache[str(folder)] = FileFinder(str(folder), (loader, SOURCE_SUFFIXES))
    return package.__name__


class _Loader(SourceFileLoader):
    """Executes a file, and keeps the families that it registers if they are sound."""

    def __init__(self, fullname: str, path: str, forwards: bool) -> None:
        super().__init__(fullname, path)
        self.forwards = forwards

    def get_code(self, fullname: str) -> CodeType:
        # Never from a cache, which knows a file's age in whole seconds only, and never into one.
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        if Path(self.path).name.startswith("_"):
            super().exec_module(module)
            return
        source = _printable(self.path)
        with registering(source):
            super().exec_module(module)
            families = registered_by(source)
            if not families:
                raise Refused("it registers no family; end it with register(Family(…))")
            for family in families:
                recount(family)
                if self.forwards:
                    try_out(family)


def _sentence(error: BaseException, file: str) -> str:
    """What was raised while a file was loaded, and in which of its lines."""
    if isinstance(error, Refused | UnknownArchitecture):
        return _printable(str(error))
    if isinstance(error, SyntaxError):
        where = f" (line {error.lineno})" if error.lineno else ""
        return _printable(f"{type(error).__name__}: {error.msg}{where}")
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    words = traceback.format_exception_only(error)[0].strip().splitlines()[0][:500]
    return _printable(f"{words} (line {lines[-1]})" if lines else words)


def _printable(words: str) -> str:
    # File names that are not UTF-8 hold lone surrogates, which no JSON can carry.
    return words.encode("utf-8", "replace").decode()
