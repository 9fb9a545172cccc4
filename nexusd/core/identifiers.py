"""Identifiers: ULIDs (sortable by time), so that ids of one kind read in the order they were made."""

from __future__ import annotations

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def ulid(now: float, entropy: int) -> str:
    """26 lower-case characters: 48 bits of milliseconds, then 80 bits of `entropy` (ULID specification)."""
    value = (int(now * 1000) & ((1 << 48) - 1)) << 80 | entropy & ((1 << 80) - 1)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))
