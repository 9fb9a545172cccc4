"""Identifiers: ULIDs (sortable by time), so that ids of one kind read in the order they were made; and the
names of a fleet's members, by which alone they are known (product.md, section 3: CloudNexus has no tags).
"""

from __future__ import annotations

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _CROCKFORD for low in _CROCKFORD)


def ulid(now: float, entropy: int) -> str:
    """26 lower-case characters: 48 bits of milliseconds, then 80 bits of `entropy` (ULID specification)."""
    value = (int(now * 1000) & ((1 << 48) - 1)) << 80 | entropy & ((1 << 80) - 1)
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])


MEMBER_LETTERS = 5
"""Letters or digits after the fleet's name and a hyphen."""
_TAIL = MEMBER_LETTERS + 1


def member_name(fleet: str, letters: str) -> str:
    return f"{fleet}-{letters}"


def fleet_of(name: str) -> str | None:
    """The fleet that an instance of this name is a member of, were there one: `web` for `web-x7f2k`."""
    letters = name[-MEMBER_LETTERS:]
    if name[-_TAIL:-MEMBER_LETTERS] != "-" or not (letters.isascii() and letters.isalnum()):
        return None
    return name[:-_TAIL] or None
