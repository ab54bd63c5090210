"""`runyard move-database`: from SQLite in the data folder to PostgreSQL."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.output import AsJson, print_json
from app.cli.serve import DataDir
from app.cli.settings import read_settings


def move_database(
    url: Annotated[
        str, typer.Argument(help="URL of an empty PostgreSQL database: postgresql://user:password@host/name")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Copy everything from SQLite in the data folder to PostgreSQL, and prove that nothing is missing.

    Runyard must be stopped. If anything goes wrong, the PostgreSQL database is left without runs; the SQLite file stays
    as it is in any case. After the move, Runyard no longer starts with that file.
    """
    from app.services.data_folder import StartError, check_not_moved, mark_moved
    from app.store.database import check_database, migrate, open_database
    from app.store.database_copy import MigrationError
    from app.store.database_move import copy_database
    from app.store.postgresql import DatabaseUnusable

    def told(table: str, rows: int) -> None:
        if rows and not as_json:
            print(f"{table}: {rows:,} row{'s' if rows != 1 else ''}")

    folder = read_settings(data_dir=data_dir).data_dir.absolute()
    file = folder / "runyard.db"
    try:
        if not file.exists():
            raise DatabaseUnusable(f"there is no {file}; choose the data folder with --data-dir")
        if not url.startswith("postgres"):
            raise DatabaseUnusable("the target must be a PostgreSQL database: postgresql://user:password@host/name")
        check_not_moved(folder)
        check_database(url)
        source, target = open_database(f"sqlite:///{file}"), open_database(url)
        try:
            with _stopped(folder):
                migrate(source)
                migrate(target)
                proofs = copy_database(source, target, told)
                mark_moved(folder, target.url.set(password=None).render_as_string())
        finally:
            source.dispose()
            target.dispose()
    except (DatabaseUnusable, MigrationError, StartError) as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if as_json:
        print_json({"tables": [{"table": proof.table, "rows": proof.rows, "sha256": proof.digest} for proof in proofs]})
        return
    print(f"All {sum(proof.rows for proof in proofs):,} rows of {len(proofs)} tables are equal in both databases.")
    print("Set RUNYARD_DATABASE_URL to this URL wherever Runyard starts. The SQLite file is not used any more.")


class _stopped:  # noqa: N801
    """Hold the lock of `runyard up` on a data folder. Raises DatabaseUnusable if it is running."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "up.lock"

    def __enter__(self) -> None:
        from app.store.postgresql import DatabaseUnusable

        self._lock = open(self._file, "a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise DatabaseUnusable(f"Runyard is running with {self._file.parent}; stop it first") from error

    def __exit__(self, *_: object) -> None:
        self._lock.close()
