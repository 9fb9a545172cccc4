"""The fakes keep the promises of the ports."""

from __future__ import annotations

import asyncio

import pytest

from nexusd.core.answers import Created, CreateRequest, NotSent, Refused, Unknown
from nexusd.core.errors import BadAnswerError
from nexusd.core.polls import INSTANCES
from nexusd.core.records import Instance, Region
from nexusd.ports import Clock, CloudApi, Metrics
from tests.fakes import (
    EPOCH,
    LOST,
    NOT_SENT,
    WITHOUT_ID,
    Create,
    FakeClock,
    FakeCloudApi,
    NullMetrics,
    RecordingMetrics,
    refusal,
)

REQUEST = CreateRequest("worker-01", "us-east-1", "pro", "ubuntu-22.04")
FAR = EPOCH + 3600.0


def test_the_fakes_are_what_the_ports_say() -> None:
    clock: Clock = FakeClock()
    api: CloudApi = FakeCloudApi(clock)
    metrics: tuple[Metrics, ...] = (NullMetrics(), RecordingMetrics())
    assert api.last_answer_at(INSTANCES) is None
    assert len(metrics) == 2


def test_a_stepped_wall_clock_moves_no_instant() -> None:
    clock = FakeClock()
    clock.step_wall_clock(-7200.0)
    assert (clock.now(), clock.utc_offset_s()) == (EPOCH, -7200.0)


async def test_a_create_is_listed_and_recorded() -> None:
    api = FakeCloudApi(FakeClock())
    answer = await api.create_instance(REQUEST, FAR)
    assert isinstance(answer, Created)
    assert answer.instance is not None
    assert api.requests == [REQUEST]
    assert list((await api.sweep_instances()).instances.values()) == [answer.instance]


async def test_a_lost_create_exists_all_the_same() -> None:
    api = FakeCloudApi(FakeClock())
    api.script_creates(LOST)
    assert isinstance(await api.create_instance(REQUEST, FAR), Unknown)
    assert len(api.existing("worker-01")) == 1


async def test_a_create_may_be_listed_late() -> None:
    clock = FakeClock()
    api = FakeCloudApi(clock)
    api.script_creates(Create(listed_after_s=60.0))
    await api.create_instance(REQUEST, FAR)
    assert not (await api.sweep_instances()).instances
    clock.advance(60.0)
    assert len((await api.sweep_instances()).instances) == 1


async def test_a_create_may_answer_without_an_id() -> None:
    api = FakeCloudApi(FakeClock())
    api.script_creates(WITHOUT_ID)
    assert await api.create_instance(REQUEST, FAR) == Created(None)


async def test_a_refused_create_makes_nothing() -> None:
    api = FakeCloudApi(FakeClock())
    api.script_creates(refusal("capacity"))
    assert isinstance(await api.create_instance(REQUEST, FAR), Refused)
    assert not api.existing()


async def test_what_was_not_sent_is_not_a_request() -> None:
    api = FakeCloudApi(FakeClock())
    api.script_creates(NOT_SENT)
    assert isinstance(await api.create_instance(REQUEST, FAR), NotSent)
    assert isinstance(await api.create_instance(REQUEST, EPOCH - 1.0), NotSent)
    assert not api.requests


async def test_a_cancelled_create_has_made_the_instance() -> None:
    api = FakeCloudApi(FakeClock())
    api.script_creates(Create(takes_s=3600.0))
    task = asyncio.ensure_future(api.create_instance(REQUEST, FAR))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(api.existing("worker-01")) == 1


async def test_failures_are_raised_in_turn_and_a_broken_api_stays_broken() -> None:
    api = FakeCloudApi(
        FakeClock(), regions=[Region("us-east-1")], instances=[Instance("i", "n", "running", "r")]
    )
    api.fail_next("regions", BadAnswerError("once"))
    with pytest.raises(BadAnswerError, match="once"):
        await api.read_regions()
    assert set((await api.read_regions()).regions) == {"us-east-1"}
    api.break_(INSTANCES, BadAnswerError("partial", "partial"))
    for _ in range(2):
        with pytest.raises(BadAnswerError):
            await api.sweep_instances()
    api.mend(INSTANCES)
    assert set((await api.sweep_instances()).instances) == {"i"}


def test_metrics_are_counted_by_their_labels() -> None:
    metrics = RecordingMetrics()
    metrics.placement_attempt("us-east-1", "created")
    metrics.poll_ended("regions", None, 0.5)
    assert metrics.counts["placement_attempt", "us-east-1", "created"] == 1
    assert metrics.counts["poll_ended", "regions", ""] == 1
    assert metrics.seconds["poll_ended"] == 0.5
