"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow, not wrong: no test asserts how long an example takes.
settings.register_profile("nexusd", deadline=None)
settings.load_profile("nexusd")
