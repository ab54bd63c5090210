"""/launch: the form, what would follow from it, and the same as a command."""

from app.routes.launch.page import pages

__all__ = ["pages"]
