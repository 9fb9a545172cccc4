from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packaging.images import Image, built_image
from tests.packaging.machines import emulated_cloud


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The image that the Dockerfile makes of this tree; built once a session."""
    with built_image() as image:
        yield image


@pytest.fixture
def cloud_url() -> Iterator[str]:
    with emulated_cloud() as url:
        yield url
