"""Configured or requested region names, compared with the listed regions.

An unlisted region is accepted, because CloudNexus may list it later, and reported: a typo would wait forever.
"""

from __future__ import annotations

from collections.abc import Iterable

from nexusd.core.regions import RegionSnapshot
from nexusd.core.spelling import nearest

MAX_NAMED = 10


def unlisted_regions(slugs: Iterable[str], snapshot: RegionSnapshot) -> list[str]:
    """Return the regions that CloudNexus does not list; none before regions were read."""
    if snapshot.observed_at is None:
        return []
    known = snapshot.known
    return [slug for slug in dict.fromkeys(slugs) if slug not in known or known[slug].left_at is not None]


def constraint_warnings(
    regions: Iterable[str] | None, avoid_regions: Iterable[str], snapshot: RegionSnapshot
) -> list[str]:
    """Return a warning for each of the two keys that names unlisted regions."""
    named = {"regions": regions or (), "avoid_regions": avoid_regions}
    listed = [region.slug for region in snapshot.listed]
    found = {key: unlisted_regions(slugs, snapshot) for key, slugs in named.items()}
    return [f"{key}: {describe_unlisted(slugs, listed)}" for key, slugs in found.items() if slugs]


def describe_unlisted(slugs: list[str], listed: list[str]) -> str:
    """Return a sentence that names unlisted regions, and suggests a listed one."""
    noun = "region" if len(slugs) == 1 else "regions"
    close = nearest(slugs[0], listed) if len(slugs) == 1 else None
    hint = f"did you mean {close}?" if close else f"it lists {enumerate_names(listed) or 'none'}"
    return f"CloudNexus does not list {noun} {enumerate_names(slugs)}; {hint}"


def enumerate_names(names: list[str]) -> str:
    """Return the first names, separated by commas, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
