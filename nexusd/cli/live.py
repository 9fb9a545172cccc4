"""`nexusd config check --live`: one question to CloudNexus, through the daemon's own client."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from nexusd.cloud.client import CloudNexus
from nexusd.runtime.clock import SystemClock
from nexusd.settings import Settings, parts
from nexusd.web.metrics import MetricsRegistry

TRIES = 2
"""Somebody waits for the answer: fewer than the daemon makes."""


def count_regions(settings: Settings) -> int:
    """How many regions CloudNexus lists for the configured key. Raises `ApiError`."""
    return asyncio.run(_count_regions(settings))


async def _count_regions(settings: Settings) -> int:
    options = replace(parts.cloud_options(settings), get_tries=TRIES)
    key, metrics = parts.key_source(settings), MetricsRegistry(())
    async with CloudNexus(options, key, SystemClock(), random.SystemRandom(), metrics) as cloud:
        return len((await cloud.read_regions()).regions)
