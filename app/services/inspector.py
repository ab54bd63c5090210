"""What the server knows about networks: the catalog, and what each of them costs.

The networks themselves are looked at by a process of its own, ``python -m app.inspection``, which imports torch, is
kept ready and is started anew when it has died or when an architecture was edited. What takes long is kept in the data
folder under a digest of the files it was made from.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from app.contract.catalog import Catalog
from app.contract.errors import Unavailable
from app.contract.preview import Block, Profile
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve
from app.inspection import Refusal, Traced

logger = logging.getLogger("runyard.inspector")

ANSWER_SECONDS = 60.0
LOOK_SECONDS = 0.5
KEPT_NETWORKS = 300
# What a network is, as far as a RunConfig says it; all else changes only how it is trained.
NETWORK = ("family", "size", "dataset", "targets", "options", "auxiliary", "precision")
OWN_FILES = ("inspection/*.py", "contract/catalog.py", "contract/datasets.py", "contract/preview.py")

Answer = TypeVar("Answer")
Stamp = tuple[tuple[str, int, int], ...]


class Inspector:
    """Answers from what is known, else from its process, one question at a time.

    folder: where it keeps what takes long. models_path: architectures from outside, imported by the process alone.
    """

    def __init__(self, folder: Path, models_path: Path | None = None) -> None:
        self._folder = folder
        self._models_path = None if models_path is None else Path(os.path.abspath(models_path.expanduser()))
        self._process = _Process()
        # One thread asks, so that answers meet their questions also where a request goes away in between.
        self._thread = ThreadPoolExecutor(1, "inspector")
        self._stamp: Stamp = ()
        self._digest = ""
        self._looked = -LOOK_SECONDS
        self._found: tuple[str, Catalog] | None = None
        # The digest of a folder of architectures that ends the process or lets it hang: it is left out.
        self._left_out = ""
        self._traced: OrderedDict[str, Traced | Refusal] = OrderedDict()

    async def start(self) -> None:
        """Have the catalog and the process ready before somebody asks. Raises Unavailable."""
        catalog = await self.catalog()
        for name in [name for name, family in catalog.families.items() if not family.source]:
            # The first network takes seconds longer than any after it, and the first of a family some tenths.
            await self.profile(resolve(RunSpec(family=name), catalog))

    async def close(self) -> None:
        """End the process; it is not started again."""
        self._process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def catalog(self) -> Catalog:
        """What can be trained, with what was edited up to half a second ago.

        Raises Unavailable when the networks cannot be looked at.
        """
        digest = self._current()
        if self._found is None or self._found[0] != digest:
            return await self._in_thread(lambda: self._look(digest))
        return self._found[1]

    async def profile(self, config: RunConfig) -> Profile:
        """The exact size of the network of ``config``, and what it costs to train it so.

        Raises SpecError where it cannot be built or trained so, Unavailable where the process does not answer.
        """
        key = f"{self._current()} {config.model_dump_json(include=set(NETWORK))}"
        found = self._traced.get(key)
        if found is None:
            found = await self._in_thread(lambda: self._trace(key, config))
        if isinstance(found, Refusal):
            raise SpecError([FieldError(found.field, found.message)])
        return found.profile(config)

    async def check(self, config: RunConfig) -> None:
        """Raises SpecError for a network that cannot be built or trained so; lets it pass where nobody can tell."""
        family = (await self.catalog()).families.get(config.family)
        size = family and family.size(config.size)
        # Networks of this project without options were built when the catalog was made.
        if family and size and not family.source and not config.options and config.dataset in size.params:
            return
        try:
            await self.profile(config)
        except Unavailable as error:
            logger.warning("%s %s is launched unseen: %s", config.family, config.size, error.message)

    async def zoo(self, dataset: str) -> dict[tuple[str, str], Profile]:
        """Every family and size on the first target of ``dataset``, with the default recipe's batch size and optimizer.

        Kept in the data folder; without layers and blocks, and without those that cannot be trained on it.
        """
        catalog = await self.catalog()
        digest = self._current()
        file = self._folder / f"zoo-{dataset}.json"
        kept = _kept(file, digest, lambda rows: [(row[0], row[1], Profile.model_validate(row[2])) for row in rows])
        if kept is None:
            kept = []
            for family in catalog.families.values():
                for size in family.sizes:
                    try:
                        config = resolve(RunSpec(family=family.name, size=size.name, dataset=dataset), catalog)
                        found = await self.profile(config)
                    except SpecError:
                        continue
                    kept.append((family.name, size.name, found.model_copy(update={"layers": [], "blocks": []})))
            if digest == self._current():
                _keep(file, digest, [(family, size, profile.model_dump()) for family, size, profile in kept])
        return {(family, size): profile for family, size, profile in kept}

    async def diagram(self, family: str, size: str, dataset: str) -> list[Block]:
        """The blocks of a network in the order in which an image meets them. Raises SpecError and Unavailable."""
        catalog = await self.catalog()
        config = resolve(RunSpec(family=family, size=size, dataset=dataset), catalog)
        return (await self.profile(config)).blocks

    # Files --------------------------------------------------------------------------------------------------------

    def _current(self) -> str:
        """Digest of every file that answers follow from; looked at twice a second, and read when one was changed."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            files = _files(self._models_path)
            stamp = tuple((str(file), *_age_and_size(file)) for file in files)
            if stamp != self._stamp:
                self._digest = _digest(files, self._models_path)
                self._stamp = stamp
            self._looked = now
        return self._digest

    def _command(self) -> tuple[str, ...]:
        outside = () if self._models_path is None or self._left_out == self._digest else (str(self._models_path),)
        return (self._digest, *outside)

    # In the thread ------------------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        try:
            waiting = self._thread.submit(work)
        except RuntimeError as error:
            raise Unavailable("the server is stopping") from error
        return await asyncio.wrap_future(waiting)

    def _look(self, digest: str) -> Catalog:
        if self._found is not None and self._found[0] == digest:
            return self._found[1]
        file = self._folder / "catalog.json"
        found = _kept(file, digest, Catalog.model_validate)
        if found is None:
            found = self._made()
            _keep(file, digest, found.model_dump())
        self._found = (digest, found)
        return found

    def _made(self) -> Catalog:
        try:
            return Catalog.model_validate(self._ask({"catalog": True})["catalog"])
        except Unavailable as error:
            if self._models_path is None or self._left_out == self._digest:
                raise
            self._left_out = self._digest
            found = Catalog.model_validate(self._ask({"catalog": True})["catalog"])
            reason = f"{self._models_path} is left out until a file there changes: {error.message}"
            return found.model_copy(update={"broken": found.broken | {self._models_path.name: reason}})

    def _trace(self, key: str, config: RunConfig) -> Traced | Refusal:
        found = self._traced.get(key)
        if found is None:
            said = self._ask({"config": config.model_dump()})
            found = (
                Refusal.model_validate(said["refusal"]) if "refusal" in said else Traced.model_validate(said["traced"])
            )
            self._traced[key] = found
            if len(self._traced) > KEPT_NETWORKS:
                self._traced.popitem(last=False)
        return found

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        answer = self._process.ask(self._command(), question)
        if "fault" in answer:
            logger.error("the inspector's process failed:\n%s", answer["fault"])
            raise Unavailable("the networks could not be looked at; the server's log says why")
        return answer


class _Process:
    """The process that imports torch, as one thread uses it; any may close it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._command: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._closed = False

    def start(self, command: tuple[str, ...]) -> subprocess.Popen[str]:
        """The process for ``command``, a digest and what follows it: the one that is there, or a new one."""
        with self._lock:
            if self._closed:
                raise Unavailable("the server is stopping")
            there = self._process
            if there is not None and there.poll() is None and self._command == command:
                return there
            if there is not None:
                _end(there)
            self._process, self._command = _started(command[1:]), command
            return self._process

    def ask(self, command: tuple[str, ...], question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question. Raises Unavailable when the process ends or is silent for too long."""
        process = self.start(command)
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(ANSWER_SECONDS, process.kill)
        late.daemon = True
        late.start()
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""  # It has ended, or was ended by close().
        finally:
            in_time = late.is_alive()
            late.cancel()
        if not line.endswith("\n"):
            process.kill()
            what = "ended" if in_time else f"did not answer in {ANSWER_SECONDS:.0f} s"
            logger.error("the inspector's process %s (exit status %s)", what, process.wait())
            raise Unavailable(f"the process that looks at networks {what}; the server's log says more")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it for good."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                _end(self._process)


def _started(arguments: tuple[str, ...]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.inspection", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    threading.Thread(target=_listen, args=(process,), name="inspector-log", daemon=True).start()
    return process


def _listen(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            logger.warning("%s", line.rstrip())


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        # A question that it was too late for lies in the pipe.
        with suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()


# What is kept ------------------------------------------------------------------------------------------------------


def _kept(file: Path, digest: str, read: Callable[[Any], Answer]) -> Answer | None:
    try:
        kept = json.loads(file.read_bytes())
        return read(kept["found"]) if kept["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _keep(file: Path, digest: str, found: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps({"digest": digest, "found": found}))
    fresh.replace(file)


def _files(models_path: Path | None) -> list[Path]:
    package = find_spec("models")
    if package is None or not package.submodule_search_locations:
        raise Unavailable("the package 'models' is not installed")
    here = Path(__file__).parents[1]
    files = [file for pattern in OWN_FILES for file in here.glob(pattern)]
    files += Path(package.submodule_search_locations[0]).glob("*.py")
    files += [] if models_path is None else [models_path, *models_path.glob("*.py")]
    return sorted(files)


def _age_and_size(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return -1, -1
    # A folder's own age changes whenever anything is written into it.
    return (0, 0) if file.is_dir() else (found.st_mtime_ns, found.st_size)


def _digest(files: list[Path], models_path: Path | None) -> str:
    digest = hashlib.sha256(str(models_path).encode("utf-8", "surrogateescape"))
    for file in files:
        try:
            contents = b"a folder" if file.is_dir() else file.read_bytes()
        except OSError:
            contents = b"not to be read"
        digest.update(str(file).encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(contents).digest())
    return digest.hexdigest()
