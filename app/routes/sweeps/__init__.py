"""/sweeps: many runs as one; its API and its pages."""

from app.routes.sweeps.api import api
from app.routes.sweeps.page import pages

__all__ = ["api", "pages"]
