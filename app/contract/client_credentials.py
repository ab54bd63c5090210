"""The file in which `runyard login` keeps tokens, by the URL of the server; readable by its owner alone."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def write_credentials(path: Path, tokens: Mapping[str, str]) -> None:
    """Replace the file at once, so that no reader sees a half of it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(dict(sorted(tokens.items())), file, indent=1)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
