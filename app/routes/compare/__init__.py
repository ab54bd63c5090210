"""/compare: several runs, or groups of them, over one another."""

from app.routes.compare.api import api
from app.routes.compare.page import pages

__all__ = ["api", "pages"]
