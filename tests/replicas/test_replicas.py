"""Three replicas keep every promise under faults.

Faults are kills, freezes, silent networks and a wrong clock.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replicas.run import run

MINUTES = 1.5


@pytest.mark.slow
async def test_replicas_under_faults_lose_nothing_and_make_nothing_twice(tmp_path: Path) -> None:
    report = await run(MINUTES, seed=3, folder=tmp_path)
    assert list(report.breaches()) == []
    assert report.accepted
    assert report.faults
    assert report.stopped
