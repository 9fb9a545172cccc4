"""Programs and libraries of npm that some slow tests drive."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.requirements import need, need_program

_INSTALL_WITHIN_S = 300


def install(folder: Path, *packages: str) -> Path:
    """Install packages by npm into a folder, and return its `node_modules`."""
    options = ("--no-audit", "--no-fund", "--loglevel=error")
    command = [need_program("npm"), "install", "--prefix", str(folder), *options, *packages]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_WITHIN_S)
    except subprocess.SubprocessError as error:
        need(False, f"npm cannot install {', '.join(packages)}: {error}")
    return folder / "node_modules"
