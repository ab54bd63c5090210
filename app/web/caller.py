"""Who sends a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import Request

from app.contract.people import MACHINE_PERMISSIONS, Permission, Role

THIS_MACHINE: Final = "this machine"


@dataclass(frozen=True)
class Caller:
    """Who sends a request. ``name`` and ``user`` are blank without an account: the owner of the machine, or nobody.

    ``credential``: how they proved it, as the audit log says it; ``session``: of a browser or a command line.
    """

    permissions: frozenset[Permission]
    credential: str = ""
    name: str = ""
    user: str = ""
    role: Role | None = None
    session: int | None = None
    address: str = ""

    def may(self, permission: Permission) -> bool:
        """Tell whether the caller has a permission."""
        return permission in self.permissions

    @property
    def who(self) -> str:
        """The person's name, or this machine."""
        return self.name or THIS_MACHINE


OPEN: Final = Caller(MACHINE_PERMISSIONS, "no sign-in")
"""Everyone, while nobody has to sign in."""
LOCAL_KEY: Final = Caller(MACHINE_PERMISSIONS, "key in the data folder")
NOBODY: Final = Caller(frozenset())


def caller(request: Request) -> Caller:
    """Return who sends the request, which app/web/access.py found out."""
    found: Caller = getattr(request.state, "caller", NOBODY)
    return found


def may(request: Request, permission: Permission) -> bool:
    """Tell whether the sender of the request has a permission; for templates, to leave out controls."""
    return caller(request).may(permission)
