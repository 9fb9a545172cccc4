"""The services of config/compose.yaml as processes of this machine, each with the command that it says.

Container paths lead to copies of what is mounted there, and fixed ports to free ones.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.config.shipped import CONFIG
from tests.e2e.daemon import free_port

COMPOSE = CONFIG / "compose.yaml"
PORTS = (9650, 9660, 9090, 9093, 3000)

Block = dict[str, Any]


def services() -> dict[str, Block]:
    found: dict[str, Block] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def mounts(service: Block) -> Mapping[str, str]:
    """Container path → what is mounted there: a path beside the file, or the name of a volume."""
    parts = [volume.split(":") for volume in service.get("volumes", [])]
    return {inside: outside for outside, inside, *_ in parts}


@dataclass
class Composed:
    """`folder`: where the copies are made."""

    folder: Path
    ports: dict[int, int] = field(default_factory=lambda: {port: free_port() for port in PORTS})

    def command(self, name: str, program: tuple[str, ...]) -> list[str]:
        """The program with the service's arguments."""
        service = services()[name]
        places = {inside: self._place(name, inside, source) for inside, source in mounts(service).items()}
        return [*program, *(self.elsewhere(argument, places) for argument in service["command"])]

    def elsewhere(self, text: str, places: Mapping[str, Path]) -> str:
        """The text with paths and ports of this machine."""
        known = "|".join(map(re.escape, places)) or "(?!)"
        moved = re.sub(rf"(?<![\w/])({known})(?=/|$)", lambda found: str(places[found[1]]), text)
        return self._with_ports(moved)

    def _place(self, name: str, inside: str, source: str) -> Path:
        place = self.folder / name / inside.strip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not source.startswith("."):
            place.mkdir()
        elif (CONFIG / source).is_dir():
            shutil.copytree(CONFIG / source, place)
        else:
            shutil.copy(CONFIG / source, place)
        for file in [place] if place.is_file() else place.rglob("*.y*ml"):
            file.write_text(self._with_ports(file.read_text()))
        return place

    def _with_ports(self, text: str) -> str:
        known = "|".join(map(str, self.ports))
        return re.sub(rf"(?<=:)({known})\b", lambda found: str(self.ports[int(found[1])]), text)


NEXUSD = (sys.executable, "-m", "nexusd")
