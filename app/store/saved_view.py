"""Storage of saved views: named addresses of the run table."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.store.run import new_id

MAX_VIEWS = 100


class View(SQLModel, table=True):
    """A saved view; ``question`` is the query string of its address."""

    __tablename__ = "view"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    question: str
    created_at: float


@dataclass(frozen=True)
class ViewRecord:
    """A saved view."""

    id: str
    name: str
    question: str
    created_at: float

    @property
    def url(self) -> str:
        """The address of the view."""
        return f"/runs?{self.question}" if self.question else "/runs"


class NameTaken(ValueError):
    """Another view has this name already."""


class TooManyViews(ValueError):
    """The limit of saved views is reached."""


def list_views(connection: Connection) -> list[ViewRecord]:
    """All saved views, sorted by name."""
    result = connection.execute(text("SELECT id, name, question, created_at FROM view ORDER BY lower(name), name"))
    return [ViewRecord(*row) for row in result]


def find_view(connection: Connection, view: str) -> ViewRecord | None:
    """The view with this id."""
    row = connection.execute(
        text("SELECT id, name, question, created_at FROM view WHERE id = :id"), {"id": view}
    ).one_or_none()
    return None if row is None else ViewRecord(*row)


def save_view(connection: Connection, name: str, question: str, now: float) -> ViewRecord:
    """Save an address under a name, replacing a view of that name. Raises TooManyViews."""
    known = {view.name: view for view in list_views(connection)}
    if name in known:
        connection.execute(
            text("UPDATE view SET question = :question WHERE id = :id"), {"question": question, "id": known[name].id}
        )
        return ViewRecord(known[name].id, name, question, known[name].created_at)
    if len(known) >= MAX_VIEWS:
        raise TooManyViews(f"limit of {MAX_VIEWS} saved views reached; delete one first")
    view = ViewRecord(new_id(now, "v"), name, question, now)
    put_view(connection, view)
    return view


def put_view(connection: Connection, view: ViewRecord) -> None:
    """Insert a view as given, to undo its deletion. Raises NameTaken."""
    _check_name(connection, view.name, view.id)
    connection.execute(
        text("INSERT INTO view (id, name, question, created_at) VALUES (:id, :name, :question, :created_at)"),
        view.__dict__,
    )


def rename_view(connection: Connection, view: str, name: str) -> bool:
    """Rename a view; False if it does not exist. Raises NameTaken."""
    _check_name(connection, name, view)
    done = connection.execute(text("UPDATE view SET name = :name WHERE id = :id"), {"name": name, "id": view})
    return done.rowcount == 1


def delete_view(connection: Connection, view: str) -> bool:
    """Delete a view; False if it does not exist."""
    return connection.execute(text("DELETE FROM view WHERE id = :id"), {"id": view}).rowcount == 1


def _check_name(connection: Connection, name: str, view: str) -> None:
    other = connection.execute(text("SELECT id FROM view WHERE name = :name"), {"name": name}).scalar()
    if other is not None and other != view:
        raise NameTaken(f"a view named '{name[:60]}' already exists")
