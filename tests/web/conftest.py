"""One running site a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.site import Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site().running() as running:
        yield running
