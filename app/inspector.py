"""The one helper process that may import torch for the server; the server itself only reads what it prints.

``python -m app.inspector`` prints the catalogue: every family and size with its exact parameter count by dataset. The
server keeps it in the data folder under a digest of the files it was made from.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

from app.contract.catalogue import Catalogue, FamilyEntry, OptionEntry, SizeEntry
from app.contract.datasets import DATASETS
from app.errors import Unavailable

logger = logging.getLogger("runyard.inspector")


class Inspector:
    """Gives the catalogue, from the data folder when nothing changed, else from a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "catalogue.json"
        self._lock = asyncio.Lock()
        self._found: Catalogue | None = None

    async def catalogue(self) -> Catalogue:
        """What can be trained. Raises Unavailable when the networks cannot be looked at."""
        if self._found is None:
            async with self._lock:
                if self._found is None:
                    self._found = self._kept() or await self._made()
        return self._found

    def _kept(self) -> Catalogue | None:
        try:
            kept = json.loads(self._file.read_bytes())
            return Catalogue.model_validate(kept["catalogue"]) if kept["digest"] == _digest() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    async def _made(self) -> Catalogue:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.inspector", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            printed, complaints = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        if process.returncode != 0:
            logger.error("the networks could not be looked at:\n%s", complaints.decode(errors="replace"))
            raise Unavailable("the networks could not be looked at; the server's log says why")
        found = Catalogue.model_validate_json(printed)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps({"digest": _digest(), "catalogue": found.model_dump()}))
        fresh.replace(self._file)
        return found


def _digest() -> str:
    """Digest of every file that the catalogue follows from."""
    spec = importlib.util.find_spec("models")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("the package 'models' is not installed")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.py"))
    digest = hashlib.sha256()
    for file in [*files, Path(__file__), Path(__file__).parent / "contract" / "datasets.py"]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def inspect_models() -> Catalogue:
    """The catalogue, from the networks themselves; imports torch."""
    import torch

    import models

    families = {}
    for family in models.families().values():
        sizes = []
        for size in family.sizes:
            params = {}
            for dataset in DATASETS.values():
                head = dataset.targets[0]
                shape = models.Shape(dataset.channels, dataset.side, {head.name: head.classes})
                with torch.device("meta"):
                    params[dataset.name] = models.count_parameters(models.build(family.name, size.name, shape))
            sizes.append(SizeEntry(name=size.name, definition=_definition(size.settings), params=params))
        families[family.name] = FamilyEntry(
            name=family.name,
            summary=family.summary,
            when=family.when,
            reference=family.reference,
            default=family.default,
            sizes=sizes,
            options=[
                OptionEntry(name=option.name, default=option.default, choices=list(option.choices), about=option.about)
                for option in family.options
            ],
            smallest_batch=family.smallest_batch,
            takes_auxiliary=family.takes_auxiliary,
        )
    return Catalogue(families=families, broken=dict(models.broken))


def _definition(settings: Any) -> str:
    def shown(value: Any) -> str:
        return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)

    return "; ".join(f"{name.replace('_', ' ')} {shown(value)}" for name, value in dict(settings).items())


if __name__ == "__main__":
    print(inspect_models().model_dump_json())
