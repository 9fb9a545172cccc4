"""Programs that some tests drive: absent on a user's machine they are skipped, absent in CI they fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

IN_CI = "NEXUSD_CI"
"""Set where every program must be there: a test that cannot run fails."""


def need_program(name: str) -> str:
    """The path of the program. Looks where Debian keeps PostgreSQL's, too."""
    for folder in _folders():
        path = shutil.which(name, path=folder)
        if path is not None:
            return path
    _lacking(f"the program {name} is not installed")


def need(condition: object, reason: str) -> None:
    """Skip, or in CI fail, for that reason unless the condition holds."""
    if not condition:
        _lacking(reason)


def _folders() -> Iterator[str]:
    yield os.environ.get("PATH", os.defpath)
    yield "/usr/sbin"
    yield from (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


def _lacking(reason: str) -> NoReturn:
    if os.environ.get(IN_CI):
        pytest.fail(f"{reason}, and {IN_CI} is set")
    pytest.skip(reason)
