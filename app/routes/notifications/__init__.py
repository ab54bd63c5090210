"""/notifications: who is told when a run ends, or when a rule holds."""

from app.routes.notifications.api import api
from app.routes.notifications.page import pages

__all__ = ["api", "pages"]
