"""Settings of all tests."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A busy machine is slow, not wrong: no test asserts how long an example takes.
settings.register_profile("nexusd", deadline=None)
settings.load_profile("nexusd")


@pytest.fixture(autouse=True)
def _interpreter_settings_restored() -> Iterator[None]:
    """Undo what `nexusd run` sets for its whole process.

    Hypothesis, for one, cannot find frozen objects, and warns that its random numbers may not be repeatable.
    """
    threshold, interval_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)
    gc.set_threshold(*threshold)
    gc.unfreeze()
