"""/launch: the launch form, its plan (steps, cost, start) and the equivalent commands."""

from app.routes.launch.page import pages

__all__ = ["pages"]
