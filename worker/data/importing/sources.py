"""Opens the source of an import, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from worker.data.importing.catalog import Catalog
from worker.data.importing.class_folders import by_folders
from worker.data.importing.errors import ImportFailed, Unusable
from worker.data.importing.files import Files
from worker.data.importing.folder_files import FolderFiles, ListedFiles
from worker.data.importing.names import is_hidden
from worker.data.importing.number_arrays import by_arrays, idx_pairs, is_npz, npz_pairs
from worker.data.importing.parquet import ParquetFile, by_parquet, open_parquet, parquet_places, read_table
from worker.data.importing.skipped import Skipped
from worker.data.importing.tables import LARGEST_TABLE, Table, by_tables, read_csv, tables_at_root
from worker.data.importing.tar_files import TarFiles
from worker.data.importing.zip_files import ZipFiles

_TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_KNOWN: Final = ".zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .npz, .csv, .tsv, .parquet"


def open_source(path: Path, original: str, skipped: Skipped, tick: Callable[[], None]) -> Catalog:
    """List what is in a file or folder. original: what the user called it. tick: called again and again.

    Raises ImportFailed, OSError, whatever `tick` raises, and what the modules of archives raise for damaged ones.
    """
    if not path.is_absolute():
        raise ImportFailed(f"{original} is not an absolute path")
    if not path.exists():
        raise ImportFailed(f"{original} does not exist")
    try:
        return _folder(path, original, skipped, tick) if path.is_dir() else _file(path, original, skipped, tick)
    except Unusable as error:
        raise ImportFailed(f"{original} cannot be read: a file in it {error}") from error


def _folder(path: Path, original: str, skipped: Skipped, tick: Callable[[], None]) -> Catalog:
    only = [each for each in path.iterdir() if not is_hidden(each.name)]
    if len(only) == 1 and only[0].is_file() and not only[0].is_symlink() and _kind(only[0]) in ("zip", "tar", "npz"):
        return _file(only[0], original, skipped, tick)
    files = FolderFiles(path, skipped, tick)
    if places := parquet_places(files):
        parquets = [open_parquet(path / files.names[place], files.names[place]) for place in places]
        return _parquet(parquets, files, skipped)
    return _files(files, original, skipped)


def _file(path: Path, original: str, skipped: Skipped, tick: Callable[[], None]) -> Catalog:
    kind = _kind(path)
    if kind == "npz":
        return by_arrays(npz_pairs(path), original)
    if kind == "zip":
        return _files(ZipFiles(path, skipped, tick), original, skipped)
    if kind == "tar":
        return _files(TarFiles(path, skipped, tick), original, skipped)
    if kind == "parquet":
        parquet = open_parquet(path, path.name)
        if parquet.has_bytes:
            return by_parquet([parquet], skipped)
        return _listed(path, read_table(parquet), skipped)
    if kind == "csv":
        if path.stat().st_size > LARGEST_TABLE:
            raise ImportFailed(f"{original} is too large for a table")
        return _listed(path, read_csv(path.name, path.read_bytes()), skipped)
    if not path.is_file():
        raise ImportFailed(f"{original} is neither a file nor a folder")
    raise ImportFailed(f"{original}: unsupported file type; supported: a folder, {_KNOWN}")


def _kind(path: Path) -> str:
    """ "zip", "tar", "npz", "csv", "parquet", or "" for a file of another kind. Raises OSError."""
    name = path.name.lower()
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return "npz" if name.endswith(".npz") or is_npz(path) else "zip"
    if head[:4] == b"PAR1":
        return "parquet"
    if (
        head[257:262] == b"ustar"
        or name.endswith(_TARS)
        or (head.startswith(_PACKED) and not name.endswith("ubyte.gz"))
    ):
        return "tar"
    for end, kind in ((".zip", "zip"), (".npz", "npz"), (".csv", "csv"), (".tsv", "csv"), (".parquet", "parquet")):
        if name.endswith(end):
            return kind
    return ""


def _listed(path: Path, table: Table, skipped: Skipped) -> Catalog:
    return by_tables(ListedFiles(path.parent, list(table.paths), skipped), [table], skipped)


def _files(files: Files, original: str, skipped: Skipped) -> Catalog:
    if pairs := idx_pairs(files):
        return by_arrays(pairs, original)
    tables: list[Table] = []
    unusable: ImportFailed | None = None
    for place in tables_at_root(files):
        if files.sizes[place] > LARGEST_TABLE:
            unusable = ImportFailed(f"{files.names[place]} is too large for a table")
            continue
        with files.open(place) as file:
            content = file.read()
        try:
            tables.append(read_csv(files.names[place], content))
        except ImportFailed as error:
            unusable = error
    if tables:
        return by_tables(files, tables, skipped)
    try:
        return by_folders(files, skipped, original)
    except ImportFailed:
        if unusable is not None:
            raise unusable from None
        raise


def _parquet(parquets: list[ParquetFile], files: Files, skipped: Skipped) -> Catalog:
    with_bytes = [each for each in parquets if each.has_bytes]
    if with_bytes:
        return by_parquet(with_bytes, skipped)
    return by_tables(files, [read_table(each) for each in parquets], skipped)
