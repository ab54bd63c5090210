"""Finds splits and classes by the names of folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from worker.data.importing.catalog import Catalog, CatalogMaker
from worker.data.importing.errors import ImportFailed
from worker.data.importing.files import Files
from worker.data.importing.names import IMAGE_ENDINGS, NO_PART, ending, part_named
from worker.data.importing.skipped import Skipped

Folder = tuple[str, ...]

_WITHOUT_CLASS: Final = ("unlabeled", "unlabelled", "unsup", "extra", "predict", "submission")
"""Folders beside those of splits that need no class."""


@dataclass(frozen=True)
class _Layout:
    """``where``: split and class of the images in each folder; a text says why there is none."""

    sentence: str
    where: dict[Folder, tuple[int, str] | str]


def image_places(files: Files, skipped: Skipped) -> list[int]:
    """Files that may be images; the others are reported as skipped."""
    places = []
    sizes = files.sizes
    for place, name in enumerate(files.names):
        end = ending(name)
        if end and end not in IMAGE_ENDINGS and len(end) <= 10 and end.isalnum() and not end.isdigit():
            skipped.add(name, "not an image", f"has an unsupported file type (.{end})")
        elif sizes[place] == 0:
            skipped.add(name, "empty", "has no content")
        else:
            places.append(place)
    return places


def by_folders(files: Files, skipped: Skipped, original: str) -> Catalog:
    """Images with the class that is the name of their folder. Raises ImportFailed."""
    places = image_places(files, skipped)
    names = files.names
    folders: dict[str, Folder] = {}
    for place in places:
        folder = names[place].rpartition("/")[0]
        if folder not in folders:
            folders[folder] = tuple(folder.split("/")) if folder else ()
    if not places:
        raise ImportFailed(f"no images found in {original}; {_contents(files, skipped)}")
    layout = _layout(set(folders.values()))
    maker = CatalogMaker(files)
    for place in places:
        where = layout.where[folders[names[place].rpartition("/")[0]]]
        if isinstance(where, str):
            skipped.add(names[place], "unlabeled", where)
        else:
            maker.add(place, where[1], where[0])
    if not len(maker):
        raise ImportFailed(
            f"no classes found in {original}; put the images of each class into a folder with its name, or add a CSV "
            "file with the columns path and label"
        )
    return maker.catalog(layout.sentence, [])


def _contents(files: Files, skipped: Skipped) -> str:
    kinds: dict[str, int] = {}
    for name in files.names:
        end = ending(name)
        kinds[f".{end}" if end else "no ending"] = kinds.get(f".{end}" if end else "no ending", 0) + 1
    if not kinds:
        hidden = skipped.kinds.total()
        return f"it has only {hidden:,} hidden or unsafe files" if hidden else "it is empty"
    shown = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))[:5]
    return "it has " + ", ".join(f"{count:,} {'file' if count == 1 else 'files'} with {end}" for end, count in shown)


def _layout(folders: set[Folder]) -> _Layout:
    root: Folder = ()
    while (inner := _single(folders, root)) is not None:
        root = inner
    children = _children(folders, root)
    splits = [child for child in children if part_named(child) != NO_PART and _children(folders, (*root, child))]
    others = [child for child in children if child not in splits]
    if splits and (
        all(part_named(child) != NO_PART or child.lower() in _WITHOUT_CLASS for child in others)
        or len({part_named(child) for child in splits}) > 1
    ):
        return _with_splits(folders, root, splits)
    where: dict[Folder, tuple[int, str] | str] = {}
    for folder in folders:
        if len(folder) > len(root) and folder[: len(root)] == root:
            where[folder] = (NO_PART, folder[len(root)])
        else:
            where[folder] = "is not in a class folder"
    within = f" in {'/'.join(root)}" if root else ""
    return _Layout(f"one folder per class{within}", where)


def _with_splits(folders: set[Folder], root: Folder, splits: list[str]) -> _Layout:
    roots = {(*root, split): part_named(split) for split in splits}
    while True:
        # A folder that wraps the classes of every split.
        inner = {_single(folders, each): part for each, part in roots.items()}
        if None in inner or len({each[-1] for each in inner if each}) > 1:
            break
        roots = {each: part for each, part in inner.items() if each is not None}
    where: dict[Folder, tuple[int, str] | str] = {}
    for folder in folders:
        where[folder] = "is not in a split folder"
        for each, part in roots.items():
            if folder[: len(each)] == each:
                where[folder] = (part, folder[len(each)]) if len(folder) > len(each) else "is not in a class folder"
    found = ", ".join(sorted("/".join(each) for each in roots))
    return _Layout(f"one folder per split ({found}), each with one folder per class", where)


def _children(folders: set[Folder], root: Folder) -> set[str]:
    depth = len(root)
    return {folder[depth] for folder in folders if len(folder) > depth and folder[:depth] == root}


def _single(folders: set[Folder], root: Folder) -> Folder | None:
    """The only folder in this one, if it has folders itself."""
    children = _children(folders, root)
    if len(children) != 1:
        return None
    inner = (*root, *children)
    return inner if _children(folders, inner) else None
