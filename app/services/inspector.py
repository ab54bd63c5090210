"""What the server knows about networks: the catalog, and the cost of each network.

The networks are inspected by a separate process, ``python -m app.inspection``, which imports torch. It starts with the
first question that the cache in the data folder does not answer, is kept running, and is restarted when it has died or
an architecture was edited. Everything cached stands under a digest of the files it depends on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from app.contract.catalog import Catalog, FamilyEntry
from app.contract.datasets import DATASETS
from app.contract.errors import Unavailable
from app.contract.preview import Block, Profile
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve
from app.inspection import Refusal, Traced
from app.services.answering_process import AnsweringProcess

logger = logging.getLogger("runyard.inspector")

LOOK_SECONDS = 0.5
MAX_NETWORKS = 300
MAX_CACHED_NETWORKS = 1000
# The fields of a RunConfig that define the network; all others affect only its training.
NETWORK = ("family", "size", "dataset", "targets", "options", "auxiliary", "precision")
OWN_FILES = (
    "inspection/*.py",
    "contract/catalog.py",
    "contract/builtin_datasets.py",
    "contract/dataset.py",
    "contract/preview.py",
)

Answer = TypeVar("Answer")
Stamp = tuple[tuple[str, int, int], ...]
_Families = TypeAdapter(list[FamilyEntry])
_Counts = TypeAdapter(dict[str, dict[str, int]])


class Inspector:
    """Answers from its cache, otherwise from its process, one question at a time.

    folder: where slow results are cached. models_path: external architectures, imported only by the process.
    """

    def __init__(self, folder: Path, models_path: Path | None = None) -> None:
        self._folder = folder
        self._networks = folder / "networks"
        self._models_path = None if models_path is None else Path(os.path.abspath(models_path.expanduser()))
        self._process = AnsweringProcess("app.inspection", "the network inspection process", logger)
        # One thread asks, so that answers match their questions even if a request is cancelled in between.
        self._thread = ThreadPoolExecutor(1, "inspector")
        self._stamp: Stamp = ()
        self._digest = ""
        self._own_digest = ""
        self._checked_at = -LOOK_SECONDS
        self._builtin_datasets: tuple[str, Catalog] | None = None
        self._found: tuple[str, tuple[str, ...], Catalog] | None = None
        # The digest of external architectures that crash or hang the process: they are ignored.
        self._ignored = ""
        self._traced: OrderedDict[str, Traced | Refusal] = OrderedDict()

    async def start(self) -> None:
        """Prepare what the first requests ask for: the catalog, and the default network of each family.

        With a filled cache this starts no process. Raises Unavailable.
        """
        catalog = await self.catalog()
        for name in [name for name, family in catalog.families.items() if not family.source]:
            await self.profile(resolve(RunSpec(family=name), catalog))

    def warm_up(self) -> None:
        """Start the process now, because questions are about to come; does not wait until it has imported torch."""
        self._current()
        with suppress(RuntimeError):  # the server is shutting down
            self._thread.submit(lambda: self._process.start(self._command()))

    async def close(self) -> None:
        """End the process for good."""
        self._process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def catalog(self) -> Catalog:
        """What can be trained, including edits up to half a second ago.

        Raises Unavailable if the networks cannot be inspected.
        """
        digest, own = self._current(), _own_datasets()
        if self._found is None or self._found[:2] != (digest, own):
            return await self._in_thread(lambda: self._load_all(digest, own))
        return self._found[2]

    async def profile(self, config: RunConfig) -> Profile:
        """The exact size of the network of ``config``, and what it costs to train it with these settings.

        Raises SpecError if it cannot be built or trained with them, Unavailable if the process does not respond.
        """
        key = f"{self._current()} {config.model_dump_json(include=set(NETWORK))}"
        traced = self._traced.get(key)
        if traced is None:
            traced = await self._in_thread(lambda: self._trace(key, config))
        if isinstance(traced, Refusal):
            raise SpecError([FieldError(traced.field, traced.message)])
        return traced.profile(config)

    async def check(self, config: RunConfig) -> None:
        """Raises SpecError for a network that cannot be built or trained; passes if the process is unavailable."""
        family = (await self.catalog()).families.get(config.family)
        size = family and family.size(config.size)
        # Built-in networks without options were built when the catalog was made.
        if family and size and not family.source and not config.options and config.dataset in size.params:
            return
        try:
            await self.profile(config)
        except Unavailable as error:
            logger.warning("could not check %s %s before launch: %s", config.family, config.size, error.message)

    async def zoo(self, dataset: str) -> dict[tuple[str, str], Profile]:
        """Every family and size on the first target of ``dataset``, with the default recipe's batch size and optimizer.

        Cached in the data folder; without layers and blocks, and without sizes that cannot be trained on it.
        """
        catalog = await self.catalog()
        digest = self._current()
        file = self._folder / f"zoo-{DATASETS[dataset].key if dataset in DATASETS else dataset}.json"
        profiles = _read_cache(
            file, digest, lambda rows: [(row[0], row[1], Profile.model_validate(row[2])) for row in rows]
        )
        if profiles is None:
            profiles = []
            for family in catalog.families.values():
                for size in family.sizes:
                    try:
                        config = resolve(RunSpec(family=family.name, size=size.name, dataset=dataset), catalog)
                        profile = await self.profile(config)
                    except SpecError:
                        continue
                    profiles.append((family.name, size.name, profile.model_copy(update={"layers": [], "blocks": []})))
            if digest == self._current():
                _write_cache(file, digest, [(family, size, profile.model_dump()) for family, size, profile in profiles])
        return {(family, size): profile for family, size, profile in profiles}

    async def diagram(self, family: str, size: str, dataset: str) -> list[Block]:
        """The blocks of a network in forward order. Raises SpecError and Unavailable."""
        catalog = await self.catalog()
        config = resolve(RunSpec(family=family, size=size, dataset=dataset), catalog)
        return (await self.profile(config)).blocks

    # Files --------------------------------------------------------------------------------------------------------

    def _current(self) -> str:
        """Digest of all files that answers depend on; checked twice a second, recomputed when a file changed."""
        now = time.monotonic()
        if now - self._checked_at >= LOOK_SECONDS:
            files = _files(self._models_path)
            stamp = tuple((str(file), *_age_and_size(file)) for file in files)
            if stamp != self._stamp:
                self._digest = _digest(files, self._models_path)
                self._own_digest = _digest(_files(None), None)
                self._stamp = stamp
            self._checked_at = now
        return self._digest

    def _command(self) -> tuple[str, ...]:
        outside = () if self._models_path is None or self._ignored == self._digest else (str(self._models_path),)
        return (self._digest, str(self._folder / "datasets"), *outside)

    # In the thread ------------------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        try:
            waiting = self._thread.submit(work)
        except RuntimeError as error:
            raise Unavailable("the server is shutting down") from error
        return await asyncio.wrap_future(waiting)

    def _load_all(self, digest: str, own: tuple[str, ...]) -> Catalog:
        """The catalog with the parameters of all networks on the user's own datasets too."""
        catalog = self._load_catalog(digest)
        for key in own:
            catalog = self._with_dataset(catalog, digest, key)
        self._found = (digest, own, catalog)
        return catalog

    def _with_dataset(self, catalog: Catalog, digest: str, key: str) -> Catalog:
        dataset = DATASETS.get(key)
        if dataset is None:
            return catalog
        shape = (dataset.channels, dataset.side, dataset.targets[0].classes)
        file = self._folder / "networks" / f"counts-{'x'.join(map(str, shape))}.json"
        counts = _read_cache(file, digest, _Counts.validate_python)
        if counts is None:
            counts = _Counts.validate_python(self._ask({"counts": shape})["counts"])
            _write_cache(file, digest, counts)
        families = {}
        for family in catalog.families.values():
            sizes = []
            for size in family.sizes:
                found = counts.get(family.name, {}).get(size.name)
                # By name and by version: a run names its version.
                more = {} if found is None else {dataset.name: found, dataset.key: found}
                sizes.append(size.model_copy(update={"params": size.params | more}))
            families[family.name] = family.model_copy(update={"sizes": sizes})
        return catalog.model_copy(update={"families": families})

    def _load_catalog(self, digest: str) -> Catalog:
        if self._builtin_datasets is not None and self._builtin_datasets[0] == digest:
            return self._builtin_datasets[1]
        file = self._folder / "catalog.json"
        catalog = _read_cache(file, digest, Catalog.model_validate)
        if catalog is None:
            catalog = self._build_catalog()
            _write_cache(file, digest, catalog.model_dump())
        self._builtin_datasets = (digest, catalog)
        return catalog

    def _build_catalog(self) -> Catalog:
        """Ask for the catalog; the built-in families, whose networks take seconds to count, only if they changed."""
        file, digest = self._folder / "families.json", self._own_digest
        known = _read_cache(file, digest, _Families.validate_python) or []
        catalog = self._ask_for_catalog(known)
        if not known:
            found = [family for family in catalog.families.values() if not family.source]
            _write_cache(file, digest, _Families.dump_python(found, mode="json"))
        return catalog

    def _ask_for_catalog(self, known: list[FamilyEntry]) -> Catalog:
        question = {"catalog": True, "known": _Families.dump_python(known, mode="json")}
        try:
            return Catalog.model_validate(self._ask(question)["catalog"])
        except Unavailable as error:
            if self._models_path is None or self._ignored == self._digest:
                raise
            self._ignored = self._digest
            catalog = Catalog.model_validate(self._ask(question)["catalog"])
            reason = f"ignoring {self._models_path} until one of its files changes: {error.message}"
            return catalog.model_copy(update={"broken": catalog.broken | {self._models_path.name: reason}})

    def _trace(self, key: str, config: RunConfig) -> Traced | Refusal:
        traced = self._traced.get(key)
        if traced is None:
            file = self._networks / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
            traced = _read_cache(file, key, Traced.model_validate)
            if traced is None:
                traced = self._trace_in_process(config)
                # A refusal may depend on more than files, such as a package that is not installed yet.
                if isinstance(traced, Traced):
                    self._keep(file, key, traced)
            self._traced[key] = traced
            if len(self._traced) > MAX_NETWORKS:
                self._traced.popitem(last=False)
        return traced

    def _keep(self, file: Path, key: str, traced: Traced) -> None:
        _write_cache(file, key, traced.model_dump())
        with suppress(FileNotFoundError):  # another server removes the same files
            _remove_oldest(self._networks, MAX_CACHED_NETWORKS)

    def _trace_in_process(self, config: RunConfig) -> Traced | Refusal:
        answer = self._ask({"config": config.model_dump()})
        if "refusal" in answer:
            return Refusal.model_validate(answer["refusal"])
        return Traced.model_validate(answer["traced"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return self._process.ask(self._command(), question)


def _own_datasets() -> tuple[str, ...]:
    """The user's own datasets, with the version in use of each."""
    own = DATASETS.own
    return tuple(DATASETS[name].key for name in own.names()) if own else ()


# Cache -------------------------------------------------------------------------------------------------------------


def _read_cache(file: Path, digest: str, read: Callable[[Any], Answer]) -> Answer | None:
    try:
        cached = json.loads(file.read_bytes())
        return read(cached["found"]) if cached["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _write_cache(file: Path, digest: str, value: Any) -> None:
    fresh = file.with_suffix(f".{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps({"digest": digest, "found": value}))
        fresh.replace(file)
    except OSError as error:
        # The answer is there; a full disk costs only the next start.
        logger.warning("could not cache %s: %s", file.name, error)
        with suppress(OSError):
            fresh.unlink()


def _remove_oldest(folder: Path, keep: int) -> None:
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for file in files[: max(0, len(files) - keep)]:
        file.unlink(missing_ok=True)


def _files(models_path: Path | None) -> list[Path]:
    package = find_spec("models")
    if package is None or not package.submodule_search_locations:
        raise Unavailable("the package 'models' is not installed")
    package_root = Path(__file__).parents[1]
    files = [file for pattern in OWN_FILES for file in package_root.glob(pattern)]
    files += Path(package.submodule_search_locations[0]).glob("*.py")
    files += [] if models_path is None else [models_path, *models_path.glob("*.py")]
    return sorted(files)


def _age_and_size(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    # A folder's modification time changes whenever anything is written into it.
    return (0, 0) if file.is_dir() else (status.st_mtime_ns, status.st_size)


def _digest(files: list[Path], models_path: Path | None) -> str:
    digest = hashlib.sha256(str(models_path).encode("utf-8", "surrogateescape"))
    for file in files:
        try:
            contents = b"a folder" if file.is_dir() else file.read_bytes()
        except OSError:
            contents = b"not to be read"
        digest.update(str(file).encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(contents).digest())
    return digest.hexdigest()
