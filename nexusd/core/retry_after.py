"""`Retry-After` (RFC 9110, 10.2.3), as CloudNexus and receivers of webhooks send it."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

LEAST_S = 1.0
MOST_S = 300.0
"""What nobody may ask for less or more than (reliability.md, Faults)."""

_SECONDS = re.compile(r"-?[0-9]+", re.ASCII)


def retry_after_s(header: str | None, date: str | None, utc: float) -> float | None:
    """Return how long to wait, in seconds, between `LEAST_S` and `MOST_S`.

    A date is measured from the response's own `date` header, so that it does not depend on this machine's
    clock; from `utc` (seconds since the epoch, wall clock) when the response has no readable one. Return None
    when the header is absent or is neither a number of seconds nor a date.
    """
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        wait_s = float(text)
    else:
        until = _parse_date(text)
        if until is None:
            return None
        sent_at = _parse_date(date) if date is not None else None
        wait_s = until - (sent_at if sent_at is not None else utc)
    return min(MOST_S, max(LEAST_S, wait_s))


def _parse_date(text: str) -> float | None:
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
