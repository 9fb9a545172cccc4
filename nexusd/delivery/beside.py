"""How much is rendered, read or signed on the event loop itself at once; more is on a thread."""

from __future__ import annotations

from nexusd.beside import Beside

ALERTS_ON_LOOP = 1_000
BYTES_ON_LOOP = 300_000
"""Either takes about 3 ms to render, and as long to read again or to sign."""

about_alerts = Beside(ALERTS_ON_LOOP)
about_bytes = Beside(BYTES_ON_LOOP)
