"""/sweeps: sweeps over many runs, with their API and pages."""

from app.routes.sweeps.api import api
from app.routes.sweeps.page import pages

__all__ = ["api", "pages"]
