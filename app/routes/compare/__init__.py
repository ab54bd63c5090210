"""/compare: several runs, or groups of them, over one another."""

from app.routes.compare.api import api
from app.routes.compare.page import MOST_RUNS, pages

__all__ = ["MOST_RUNS", "api", "pages"]
