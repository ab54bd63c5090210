"""What the server gives workers of other machines through the artifact store: files under their own SHA-256.

- ``shared/files/SHA256``: the content of a file.
- ``shared/datasets/NAME/VERSION.json``: a SharedFolder, written when all its files are there.

The user's own architectures are a SharedFolder too. It comes with each run (`Grant`) and is signed, since a worker
executes these files (docs/decisions/0061-datasets-and-architectures-by-the-store.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ROOT: Final = "shared"
KEY_NAME: Final = "architectures.key"
"""File in a worker's data folder with the key that proves who wrote an architecture, as `runyard join` writes it."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Neither a path nor hidden: what a worker writes stays in the folder that it chose.
Name = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00.][^/\\\x00]*$", max_length=255)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SharedFile(_Model):
    """A file of a folder. ``bytes``: its size."""

    name: Name
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, lt=2**63)]

    @property
    def path(self) -> str:
        """Where its content is in the artifact store."""
        return f"{ROOT}/files/{self.sha256}"


class SharedFolder(_Model):
    """Files in alphabetical order. ``signature``: of architectures."""

    files: list[SharedFile]
    signature: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents: the version of the folder."""
        content = [[each.name, each.sha256] for each in self.files]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.bytes for each in self.files)

    def signed(self, key: bytes) -> SharedFolder:
        """The same with a signature."""
        return self.model_copy(update={"signature": self._signature(key)})

    def is_signed(self, key: bytes) -> bool:
        """Whether the signature is that of this key."""
        return hmac.compare_digest(self._signature(key).encode(), self.signature.encode("utf-8", "replace"))

    def _signature(self, key: bytes) -> str:
        return hmac.new(key, f"architectures {self.digest}".encode(), hashlib.sha256).hexdigest()


def dataset_manifest(name: str, version: str) -> str:
    """Where the SharedFolder of a version of a dataset is in the artifact store."""
    return f"{ROOT}/datasets/{name}/{version}.json"


def describe_file(path: Path) -> SharedFile:
    """Read a file and describe it. Raises OSError."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return SharedFile(name=path.name, sha256=digest, bytes=file.tell())


def read_architectures(folder: Path) -> dict[str, bytes]:
    """Read the files of a folder of architectures, with those that they import from it. Raises OSError."""
    files = sorted(path for path in folder.iterdir() if path.suffix == ".py" and not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in files if path.is_file()}


def describe_contents(contents: dict[str, bytes]) -> SharedFolder:
    """Describe files by their names and contents."""
    files = [(name, hashlib.sha256(content).hexdigest(), len(content)) for name, content in sorted(contents.items())]
    return SharedFolder(files=[SharedFile(name=name, sha256=sha256, bytes=size) for name, sha256, size in files])
