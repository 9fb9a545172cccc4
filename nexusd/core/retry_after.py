"""`Retry-After` (RFC 9110, 10.2.3), as CloudNexus and receivers of webhooks send it."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

LEAST_S = 1.0
MOST_S = 300.0
"""What nobody may ask for less or more than (reliability.md, Faults)."""

_SECONDS = re.compile(r"-?[0-9]+", re.ASCII)


def retry_after_s(header: str | None, utc: float) -> float | None:
    """How long to wait from `utc`, the seconds since the epoch as people's clocks show them.

    None when the header is absent or is neither a number of seconds nor a date.
    """
    if header is None:
        return None
    text = header.strip()
    asked_s = float(text) if _SECONDS.fullmatch(text) else _until(text, utc)
    return min(MOST_S, max(LEAST_S, asked_s)) if asked_s is not None else None


def _until(date: str, utc: float) -> float | None:
    try:
        at = parsedate_to_datetime(date)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - utc
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
