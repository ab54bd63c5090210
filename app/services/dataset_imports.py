"""The server's side of imports of the user's images: their folders, written here until a worker takes over.

`app.contract.dataset_import` describes the files of an import.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.contract.dataset_import import (
    CANCEL,
    CHOICES,
    DATASET_NAME,
    DATASET_NAME_RULE,
    ENDED,
    REPORT,
    REQUEST,
    STATE,
    UPLOAD,
    Choices,
    ChoicesMade,
    ImportRequest,
    ImportState,
    Report,
)
from app.contract.datasets import DATASETS
from app.contract.errors import Conflict, Invalid, NotFound, to_field_errors
from app.contract.spec import FieldError
from app.services.disk import disk
from app.services.upload import Upload
from app.store.run import new_id

logger = logging.getLogger("runyard.datasets")

IMPORT_ID = re.compile(r"[A-Za-z0-9_-]{1,60}")
UPLOADING = "uploading"
"""A file that is locked while its import is being uploaded."""
RESERVED_NAMES = frozenset({"all", "imports"})
SINGLE_FILES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".npz", ".csv", ".tsv", ".parquet")
"""Endings of what is imported as one file; any other single file is an image without a class."""


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class DatasetImport:
    """An import as its folder describes it."""

    request: ImportRequest
    state: ImportState
    choices: ChoicesMade

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.request.id

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state.status in ENDED

    @property
    def reading(self) -> bool:
        """Whether the report is not there yet, or is for earlier choices."""
        return self.state.status == "preview" and self.choices.number > self.state.shown


class DatasetImports:
    """Imports in a folder of datasets. ``allowed``: folders of this machine that may be imported from."""

    def __init__(self, datasets: Path, allowed: Sequence[Path] = ()) -> None:
        self.folder = datasets / "imports"
        self.allowed = [path.expanduser().resolve() for path in allowed]

    # Start ------------------------------------------------------------------------------------------------------------

    async def receive(self, request: Request) -> ImportRequest:
        """Write an upload to disk and start its import; whatever goes wrong, nothing of it stays.

        Fields of the form: ``name``; any number of ``file``, or ``path``; ``options`` (`Choices` as JSON); ``keep``.
        """
        number = new_id(time.time(), "i")
        folder = self.folder / number
        with disk(), self._being_uploaded(folder):
            upload = Upload(folder / UPLOAD, request.headers.get("content-type", ""))
            await upload.read(request.stream())
            return self._start(number, upload)

    def _start(self, number: str, upload: Upload) -> ImportRequest:
        fields = upload.fields
        unknown = set(fields) - {"name", "path", "options", "keep"}
        if unknown:
            raise Invalid(f"unknown field '{min(unknown)[:40]}'; fields: name, file, path, options, keep")
        if bool(upload.files) == bool(fields.get("path", "").strip()):
            raise Invalid("send files or a path", [FieldError("file", "send either files or a path")])
        if upload.files:
            source, original = _source_of(upload)
        else:
            source = self._allowed_path(fields["path"].strip())
            original = str(source)
        request = ImportRequest(
            id=number,
            name=checked_name(fields.get("name", "")),
            source=str(source),
            original=original,
            keep=_read_bool(fields.get("keep", "true")),
            choices=read_choices(fields.get("options", "") or "{}"),
            created_at=time.time(),
        )
        _write(self.folder / number / REQUEST, request)
        return request

    def _allowed_path(self, given: str) -> Path:
        path = Path(given).expanduser()
        error = ""
        if not self.allowed:
            error = (
                "importing by path is disabled; set RUNYARD_IMPORT_PATHS to the allowed folders, or upload the files"
            )
        elif not path.is_absolute():
            error = "a path must be absolute"
        elif not any(path.resolve().is_relative_to(folder) for folder in self.allowed):
            error = f"{given[:200]} is not in a folder of RUNYARD_IMPORT_PATHS"
        elif not path.exists():
            error = f"{given[:200]} does not exist on the server's machine"
        if error:
            raise Invalid(error, [FieldError("path", error)])
        return path.resolve()

    @contextmanager
    def _being_uploaded(self, folder: Path) -> Iterator[None]:
        folder.mkdir(parents=True)
        with (folder / UPLOADING).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            # The request is there: from now on the import belongs to a worker.
            (folder / UPLOADING).unlink()

    def remove_old(self, seconds: float) -> None:
        """Forget imports that ended longer ago than that; their datasets stay."""
        for each in self.every():
            if each.ended and each.state.updated_at < time.time() - seconds:
                shutil.rmtree(self.folder / each.id, ignore_errors=True)

    def remove_unfinished(self) -> None:
        """Delete uploads that a server which is gone did not finish."""
        for folder in self._folders():
            if (folder / REQUEST).exists():
                continue
            with suppress(FileNotFoundError), (folder / UPLOADING).open() as lock:
                if _is_locked(lock):
                    continue
            logger.info("deleting the unfinished upload %s", folder.name)
            shutil.rmtree(folder, ignore_errors=True)

    # Look -------------------------------------------------------------------------------------------------------------

    def every(self) -> list[DatasetImport]:
        """All imports, newest first."""
        found = [self._find(folder) for folder in self._folders()]
        return sorted((each for each in found if each), key=lambda each: -each.request.created_at)

    def find(self, number: str) -> DatasetImport:
        """The import with this id. Raises NotFound."""
        found = self._find(self.folder / number) if IMPORT_ID.fullmatch(number) else None
        if found is None:
            raise NotFound(f"no import '{number[:40]}'")
        return found

    def newest(self, name: str) -> DatasetImport | None:
        """The newest import of a dataset with this name."""
        return next((each for each in self.every() if each.request.name == name), None)

    def report(self, number: str) -> Report | None:
        """What was found in the source; None before it was read."""
        return _read(self.folder / number / REPORT, Report)

    def _folders(self) -> list[Path]:
        try:
            return [folder for folder in self.folder.iterdir() if folder.is_dir()]
        except FileNotFoundError:
            return []

    def _find(self, folder: Path) -> DatasetImport | None:
        request = _read(folder / REQUEST, ImportRequest)
        if request is None:
            return None
        state = _read(folder / STATE, ImportState) or ImportState(status="waiting")
        if (folder / CANCEL).exists() and state.status not in ENDED:
            state = state.model_copy(update={"task": "cancelling"})
        made = _read(folder / CHOICES, ChoicesMade) or ChoicesMade(number=0, choices=request.choices)
        return DatasetImport(request, state, made)

    # Change -----------------------------------------------------------------------------------------------------------

    def choose(self, number: str, choices: Choices, keep: bool) -> DatasetImport:
        """Set the choices of an import that waits for them; ``keep`` makes the dataset. Raises NotFound, Conflict."""
        found = self.find(number)
        if found.ended or found.state.status == "keeping" or found.choices.keep:
            raise Conflict(f"the choices of this import can no longer be changed (status: {found.state.status})")
        report = self.report(number)
        if report is not None:
            classes = {name for each in report.classes for name in each.found} | set(choices.classes)
            if len({choices.classes.get(name, name) for name in classes} - {""}) < 2:
                error = "at least two classes are needed"
                raise Invalid(error, [FieldError("classes", error)])
        made = ChoicesMade(number=found.choices.number + 1, choices=choices, keep=keep)
        _write(self.folder / number / CHOICES, made)
        return self.find(number)

    def cancel(self, number: str) -> DatasetImport:
        """Cancel an import; one that has ended is forgotten. Raises NotFound."""
        found = self.find(number)
        if found.ended:
            shutil.rmtree(self.folder / number, ignore_errors=True)
            return found
        (self.folder / number / CANCEL).touch()
        return self.find(number)


def checked_name(name: str) -> str:
    """A name for a dataset of the user. Raises Invalid."""
    name = name.strip()
    error = ""
    if not name:
        error = "a name is required"
    elif name in DATASETS.builtin:
        error = f"'{name}' is a dataset that comes with Runyard; choose another name"
    elif not DATASET_NAME.match(name) or name in RESERVED_NAMES:
        error = DATASET_NAME_RULE
    if error:
        raise Invalid(error, [FieldError("name", error)])
    return name


def read_choices(text: str) -> Choices:
    """Choices from JSON. Raises Invalid."""
    try:
        return Choices.model_validate_json(text)
    except ValidationError as error:
        # The whole is called the body there, but it is a field of the form.
        whole = any(each["type"] == "json_invalid" or not each["loc"] for each in error.errors())
        example = 'options must be a JSON object, e.g. {"side": 64}'
        errors = [FieldError("options", example)] if whole else to_field_errors(error.errors())
        raise Invalid("; ".join(each.message for each in errors), errors) from error


def _read_bool(text: str) -> bool:
    if text.lower() in ("true", "1", "on", "yes"):
        return True
    if text.lower() in ("false", "0", "off", "no", ""):
        return False
    raise Invalid("keep must be true or false", [FieldError("keep", "keep must be true or false")])


def _source_of(upload: Upload) -> tuple[Path, str]:
    """What to read of an upload, and what the user calls it."""
    if len(upload.files) == 1 and upload.files[0].lower().endswith(SINGLE_FILES):
        return upload.folder / upload.files[0], upload.files[0]
    tops = {name.split("/", 1)[0] for name in upload.files}
    return upload.folder, min(tops) if len(tops) == 1 else f"{len(upload.files):,} files"


def _is_locked(file: IO[Any]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        logger.warning("cannot read %s: %s", path, error)
        return None


def _write(path: Path, model: BaseModel) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.write_text(model.model_dump_json())
    os.replace(fresh, path)
