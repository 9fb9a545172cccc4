"""The real client against a mock server that somebody else made from the description of the API."""

from __future__ import annotations

import random

import pytest

from nexusd.cloud.client import CloudNexus
from nexusd.cloud.key import LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.core.answers import Created, CreateRequest
from nexusd.runtime.clock import SystemClock
from tests.e2e.daemon import KEY
from tests.emulator.prism import prism_program, prism_url
from tests.fakes import NullMetrics

__all__ = ["prism_program", "prism_url"]


@pytest.mark.slow
async def test_prism_answers_the_client_without_a_surprise(prism_url: str) -> None:
    clock = SystemClock()
    options, key = CloudOptions(prism_url), LiteralKey(KEY)
    async with CloudNexus(options, key, clock, random.Random(1), NullMetrics()) as api:
        regions = await api.read_regions()
        assert regions.regions["us-east-1"].latency_ms == 12
        sweep = await api.sweep_instances()
        assert sweep.instances
        request = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04")
        answer = await api.create_instance(request, clock.now() + 10.0)
        assert isinstance(answer, Created)
