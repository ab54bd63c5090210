"""The unit files in deploy/systemd, read as systemd reads them."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "systemd"
PROGRAM = "/opt/runyard/bin/runyard"
REDIS = "/usr/bin/redis-server"


@dataclass
class Unit:
    """A unit file: ``entries`` has the values of every key by section, in their order."""

    name: str
    entries: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def service(self, key: str) -> str:
        """The only value of a key of the service; "" without one."""
        values = self.entries["Service"].get(key, [""])
        assert len(values) == 1, f"{self.name} has {key} {len(values)} times"
        return values[0]

    def command(self) -> list[str]:
        """The command that the service starts, with its arguments."""
        return shlex.split(self.service("ExecStart"))

    def environment(self, instance: str = "") -> dict[str, str]:
        """The variables that the service sets; ``instance``: what follows the @ in its name."""
        values = " ".join(self.entries["Service"].get("Environment", []))
        return dict(word.replace("%i", instance).split("=", 1) for word in shlex.split(values))


def read_unit(path: Path) -> Unit:
    """Read a unit file. Lines that end with a backslash go on; those that begin with # or ; are comments."""
    unit = Unit(path.name)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not re.match(r"\s*[#;]", line)]
    section = ""
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if found := re.fullmatch(r"\[(\w+)\]", line):
            section = found[1]
        elif line:
            key, value = line.split("=", 1)
            unit.entries[section][key].append(value)
    return unit


UNITS = {path.name: read_unit(path) for path in sorted(FOLDER.iterdir()) if path.suffix in {".service", ".target"}}
SERVICES = {name: unit for name, unit in UNITS.items() if name.endswith(".service")}
OURS = {name: unit for name, unit in SERVICES.items() if name != "runyard-redis.service"}
