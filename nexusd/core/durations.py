"""Durations as people write them: `30s`, `5m`, `1h30m`, `30d`."""

from __future__ import annotations

import re

_UNIT_S = {"w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,6})?)(ms|[wdhms])")
_UNIT_ORDER = list(_UNIT_S)


def parse_duration(text: str) -> float:
    """Seconds; units go from large to small and each at most once, as Prometheus writes them; `0` needs none.

    Raises `ValueError` with what is expected: nothing in `text` says what else was meant.
    """
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    units = [_UNIT_ORDER.index(unit) for _, unit in parts]
    whole = "".join(number + unit for number, unit in parts) == text
    if not parts or not whole or units != sorted(set(units)):
        raise ValueError("a duration such as 30s, 5m or 1h30m")
    return round(sum(float(number) * _UNIT_S[unit] for number, unit in parts), 6)
