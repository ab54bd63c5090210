"""Collects the files that an import does not use."""

from __future__ import annotations

from collections import Counter
from typing import Final, get_args

from app.contract.dataset_import import SkippedFile

SHOWN: Final = 1_000
"""Most files that a report names."""

KINDS: Final[tuple[str, ...]] = get_args(SkippedFile.model_fields["kind"].annotation)
_ORDER: Final = {
    kind: place
    for place, kind in enumerate(
        ("unreadable", "empty", "too large", "unsafe", "limit", "unlabeled", "not an image", "hidden")
    )
}
_MOST: Final = 20 * SHOWN


class Skipped:
    """Counts skipped files, and keeps those to show: the most surprising kinds first, each in order of its paths.

    What is kept depends on what was added, not on the order in which it was added.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._files: list[tuple[int, str, str, str]] = []

    def add(self, path: str, kind: str, reason: str) -> None:
        """A file, by its path within the source; kind and reason as in `SkippedFile`."""
        self.kinds[kind] += 1
        self._files.append((_ORDER[kind], path, kind, reason))
        if len(self._files) > _MOST:
            self._files.sort()
            del self._files[SHOWN:]

    def copy(self) -> Skipped:
        """An independent copy."""
        other = Skipped()
        other.kinds = self.kinds.copy()
        other._files = self._files.copy()
        return other

    def files(self) -> list[SkippedFile]:
        """At most SHOWN of them."""
        shown = sorted(self._files)[:SHOWN]
        return [
            SkippedFile.model_validate({"path": path, "kind": kind, "reason": reason})
            for _, path, kind, reason in shown
        ]

    def dump(self) -> dict[str, object]:
        """As JSON, for `load`."""
        return {"kinds": dict(self.kinds), "files": sorted(self._files)[:SHOWN]}

    @staticmethod
    def load(dumped: dict[str, object]) -> Skipped:
        """What was dumped."""
        other = Skipped()
        kinds, files = dumped["kinds"], dumped["files"]
        assert isinstance(kinds, dict)
        assert isinstance(files, list)
        other.kinds = Counter(kinds)
        other._files = [(place, path, kind, reason) for place, path, kind, reason in files]
        return other
