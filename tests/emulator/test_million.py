"""A fleet of a million does not hold its clients back."""

from __future__ import annotations

import time

import msgspec
import pytest

from nexusd.emulator.calls import PageQuery
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.effects import Drift
from nexusd.emulator.faults import Call, Fault
from tests.emulator.clients import a_cloud

MILLION = 1_000_000


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return a_cloud(instances=MILLION)


def ids(cloud: Cloud, offset: int, limit: int = 100) -> list[str]:
    body = msgspec.json.decode(cloud.read_instances(PageQuery(limit, offset)))
    return [one["id"] for one in body["data"]]


@pytest.mark.slow
def test_every_page_of_a_million_is_served_within_seconds_of_the_start() -> None:
    began = time.process_time()
    cloud = a_cloud(instances=MILLION)
    cloud.prebuild()
    built_s = time.process_time() - began
    began = time.process_time()
    for offset in range(0, MILLION, 100):
        cloud.read_instances(PageQuery(100, offset))
    read_s = time.process_time() - began
    assert built_s < 30
    assert read_s < built_s / 5


@pytest.mark.slow
def test_overlapping_pages_of_a_million_agree(cloud: Cloud) -> None:
    assert ids(cloud, 499_999) == ids(cloud, 499_900)[99:] + ids(cloud, 500_000)[:99]
    assert ids(cloud, 999_950) == ids(cloud, 999_900)[50:]


@pytest.mark.slow
def test_drift_in_a_million_costs_milliseconds(cloud: Cloud) -> None:
    cloud.add_fault(Fault(Drift(insert=1, remove=1, move=1, each="page")))
    began = time.process_time()
    for _ in range(50):
        cloud.plan(Call("instances", "GET", offset=100, pages=10_000))
        ids(cloud, 100)
    assert (time.process_time() - began) / 50 < 0.1
    assert cloud.drifted == {"inserted": 50, "removed": 50, "moved": 50}
