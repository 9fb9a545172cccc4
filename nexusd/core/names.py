"""Instance names that CloudNexus stores in another form than requested.

A provider may fold the case of a name, trim white space, normalize Unicode, or cut a long name. A listed name
that differs from a requested one only by these is *similar* to it. A similar name never proves that an
instance is absent, is taken for a new request, and counts for a fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from unicodedata import normalize

from nexusd.core.identifiers import MEMBER_LETTERS, fleet_of

MIN_CUT_BYTES = 60
"""Shortest name taken for a cut one: DNS labels end at 63 bytes, minus a character that was cut in half."""
MIN_SUSPECTED_CUT_BYTES = 15
"""The same where an instance appeared just after a create whose response was lost: NetBIOS ends at 15."""
_REPLACEMENT = "\ufffd"
"""What decoders put in place of a character that was cut in half."""


def canonical(name: str) -> str:
    """Return the form that all similar names share, cut ones excepted."""
    if name.isascii():
        return name.strip().lower()
    folded = normalize("NFD", normalize("NFD", name).casefold())
    return folded.strip().rstrip(_REPLACEMENT).rstrip()


def cut_forms(form: str, min_bytes: int) -> Iterator[str]:
    """Yield each proper prefix of a canonical name of at least `min_bytes` bytes."""
    size = 0
    for end, character in enumerate(form):
        if size >= min_bytes:
            yield form[:end]
        size += len(character.encode(errors="surrogatepass"))


def is_cut_form(listed: str, requested: str) -> bool:
    """Return whether a listed name is a proper prefix of the requested one."""
    form, whole = canonical(listed), canonical(requested)
    return 0 < len(form) < len(whole) and whole.startswith(form)


class FleetNames:
    """Finds the declared fleet of a member's name.

    The name may be stored in another form.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._exact = frozenset(self.names)
        self._by_form = {canonical(name): name for name in reversed(self.names)}
        self._long = [
            (form, name)
            for form, name in self._by_form.items()
            if len(form) + 1 + MEMBER_LETTERS > MIN_CUT_BYTES
        ]

    def fleet_of(self, name: str) -> str | None:
        """Return the declared fleet that an instance of this name is a member of, or None."""
        fleet = fleet_of(name)
        if fleet in self._exact:
            return fleet
        form = canonical(name)
        fleet = fleet_of(form)
        if fleet is not None and fleet in self._by_form:
            return self._by_form[fleet]
        if self._long and len(form) >= MIN_CUT_BYTES:
            return next((whole for start, whole in self._long if _is_cut_member(form, start)), None)
        return None


def _is_cut_member(form: str, fleet: str) -> bool:
    """Return whether a name is a cut form of a member's.

    It has fewer letters, or none, or even less of the fleet's name.
    """
    start = f"{fleet}-"
    if start.startswith(form):
        return True
    letters = form.removeprefix(start)
    return letters != form and len(letters) < MEMBER_LETTERS and letters.isascii() and letters.isalnum()
