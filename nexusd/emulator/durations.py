"""Durations as they are written in scenario files and on the command line: `30s`, `5m`, `1h30m`, `250ms`."""

from __future__ import annotations

import re

_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SHAPE = re.compile(r"(?:\d+d)?(?:\d+h)?(?:\d+m(?!s))?(?:\d+(?:\.\d+)?s)?(?:\d+ms)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds. Larger units come first, each at most once; `0` needs none. Raises `ValueError`."""
    if text == "0":
        return 0.0
    if not text or not _SHAPE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m, 1h30m or 250ms")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
