"""/notifications: webhooks and rules that notify when a run ends or a metric crosses a threshold."""

from app.routes.notifications.api import api
from app.routes.notifications.page import pages

__all__ = ["api", "pages"]
