"""`nexusd config check --live`: one request to CloudNexus by the daemon's client."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nexusd.cloud.client import CloudNexus
from nexusd.core.matchers import Matcher, parse_matchers
from nexusd.core.region_names import describe_unlisted
from nexusd.runtime.clock import SystemClock
from nexusd.settings import Settings, parts
from nexusd.web.metrics import MetricsRegistry

TRIES = 2
"""Fewer than the daemon makes: a person waits for the answer."""


def list_regions(settings: Settings) -> list[str]:
    """Return the slugs of the regions that CloudNexus lists for the configured key.

    Raises `ApiError`.
    """
    return asyncio.run(_list_regions(settings))


async def _list_regions(settings: Settings) -> list[str]:
    options = replace(parts.cloud_options(settings), get_tries=TRIES)
    key, metrics = parts.key_source(settings), MetricsRegistry(())
    async with CloudNexus(options, key, SystemClock(), random.SystemRandom(), metrics) as cloud:
        return sorted((await cloud.read_regions()).regions)


def region_warnings(settings: Settings, listed: Sequence[str]) -> list[str]:
    """Return a warning for each unlisted region that fleets and routes name."""
    return [*_fleet_warnings(settings, listed), *_route_warnings(settings, listed)]


def _fleet_warnings(settings: Settings, listed: Sequence[str]) -> Iterator[str]:
    for number, fleet in enumerate(settings.fleets):
        for key, slugs in (("regions", fleet.regions or ()), ("avoid_regions", fleet.avoid_regions)):
            unlisted = [slug for slug in slugs if slug not in listed]
            if unlisted:
                yield f"fleets[{number}].{key}: {describe_unlisted(unlisted, list(listed))}"


def _route_warnings(settings: Settings, listed: Sequence[str]) -> Iterator[str]:
    """Warn of matchers on `region` that select no listed region, or exclude none."""
    for number, route in enumerate(settings.routes):
        for position, text in enumerate(route.matchers):
            for matcher in parse_matchers(text):
                if matcher.name == "region" and matcher.value and not _has_effect(matcher, listed):
                    where = f"routes[{number}].matchers[{position}]"
                    yield f"{where}: {describe_unlisted([matcher.value], list(listed))}"


def _has_effect(matcher: Matcher, listed: Sequence[str]) -> bool:
    """Return whether it selects a listed region, or excludes one if it is negative."""
    selects = matcher.operator in ("=", "=~")
    return any(matcher.matches({"region": slug}) is selects for slug in listed)
