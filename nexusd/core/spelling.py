"""Suggestions for misspelled names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MAX_COMPARED = 100
"""Characters of a name that are compared: comparing takes quadratic time."""

MAX_SHOWN = 64
"""Characters of an unknown value that are shown."""


def nearest(name: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """Return the candidate most similar to `name`, ignoring case.

    None if the similarity is below the cutoff (0 to 1).
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(name.casefold()[:MAX_COMPARED], list(by_folded), n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def describe_unknown(value: str, known: Sequence[str], choices: str) -> str:
    """Return that a value is unknown, with the most similar known one and the choices."""
    close = nearest(value, known)
    hint = f"did you mean {close}? " if close else ""
    return f"{value[:MAX_SHOWN]!r} is unknown; {hint}known: {choices}"
