"""The stores of these tests lie in memory where that can be: hundreds of synced commits each would wait for a
disk that nothing here is about (`tests/store` is).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not os.access(IN_MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("store")
        return
    with TemporaryDirectory(prefix="nexusd-test-", dir=IN_MEMORY) as folder:
        yield Path(folder)
