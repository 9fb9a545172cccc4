"""Writes the dashboards: `python config/grafana/generate`, or another folder to write to as an argument.

Needs the development environment (`pip install -e '.[dev]'`). A test fails while the files
differ from what this makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import daemon
import fleet_and_regions
from grafana_foundation_sdk.cog.encoder import JSONEncoder

DASHBOARDS = {"daemon.json": daemon.DASHBOARD, "fleet-and-regions.json": fleet_and_regions.DASHBOARD}
FOLDER = Path(__file__).parents[1] / "dashboards"


def main(folder: Path) -> None:
    for name, dashboard in DASHBOARDS.items():
        text = JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build())
        (folder / name).write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
