"""How hard the property tests try."""

from __future__ import annotations

import os

SHARE = 3


def examples(count: int) -> int:
    """So many where nobody waits for it (`.ci/run`), a third of them on somebody's own machine."""
    return count if "NEXUSD_CI" in os.environ else count // SHARE
