"""GETs over real HTTP, in virtual time: what each answer and fault becomes, and when it is tried again."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import tracemalloc
import zlib
from email.utils import formatdate
from typing import Any

import pytest

from nexusd import __version__
from nexusd.core.errors import (
    ApiError,
    BadAnswerError,
    RefusedError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
)
from tests.cloud.server import (
    KEY,
    Cloud,
    Reply,
    Request,
    Respond,
    chain_text,
    cloud,
    error,
    listing,
    record,
    reply,
)
from tests.virtual_time import VIRTUAL_EPOCH, in_virtual_time

REGIONS = {"regions": [{"slug": "us-east-1", "status": "healthy", "avg_latency_ms": 12, "capacity": True}]}
ZIPPED = gzip.compress(json.dumps(REGIONS).encode())
ONCE: dict[str, Any] = {"get_tries": 1}


def always(answer: Reply) -> Respond:
    return lambda request: answer


def in_turn(*answers: Reply) -> Respond:
    """One after the other; the last for ever."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


async def failure(under_test: Cloud) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await under_test.api.read_regions()
    assert "\n" not in str(caught.value)
    return caught.value


@in_virtual_time
async def test_a_request_carries_the_key_and_says_who_asks() -> None:
    async with cloud(always(reply(REGIONS))) as c:
        await c.api.read_regions()
        request = c.server.requests[0]
    assert request.path == "/v1/regions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["User-Agent"] == f"nexusd/{__version__}"
    assert "Cookie" not in request.headers


@in_virtual_time
async def test_regions_are_read_with_when_they_were_asked_and_answered() -> None:
    slow = Reply(body=json.dumps(REGIONS).encode(), after_s=2.0)
    async with cloud(always(slow)) as c:
        regions = await c.api.read_regions()
        assert c.api.last_answer_at("regions") == regions.ended_at
    assert regions.regions["us-east-1"].latency_ms == 12
    assert (regions.began_at, regions.ended_at) == (VIRTUAL_EPOCH, VIRTUAL_EPOCH + 2.0)


@in_virtual_time
async def test_pages_are_read_side_by_side_but_never_more_than_allowed() -> None:
    records = [record(n) for n in range(2000)]
    page = listing(records)

    def slow(request: Request) -> Reply:
        return Reply(body=page(request).body, after_s=0.5)

    async with cloud(slow, max_concurrent_requests=3) as c:
        sweep = await c.api.sweep_instances()
    assert len(sweep.instances) == 2000
    assert c.server.most_at_once == 3
    assert sweep.instances["inst_000007"].specs.ram_gb == 16  # type: ignore[union-attr]


@in_virtual_time
async def test_a_server_that_caps_pages_below_what_was_asked_is_followed() -> None:
    async with cloud(listing([record(n) for n in range(95)], cap=20)) as c:
        sweep = await c.api.sweep_instances()
    assert len(sweep.instances) == 95
    assert [r.query["offset"] for r in c.server.requests] == ["0", "19", "38", "57", "76"]
    assert {r.query["limit"] for r in c.server.requests} == {"100"}


@in_virtual_time
async def test_requests_leave_no_faster_than_the_rate_limit() -> None:
    async with cloud(listing([record(n) for n in range(1000)]), max_requests_per_second=10.0) as c:
        await c.api.sweep_instances()
    times = [r.at for r in c.server.requests]
    assert len(times) == 11
    assert all(b - a >= 0.099 for a, b in itertools.pairwise(times))


@in_virtual_time
async def test_an_unchanged_page_is_the_same_objects_and_a_changed_row_a_new_one() -> None:
    records = [record(n) for n in range(150)]
    async with cloud(listing(records)) as c:
        first = await c.api.sweep_instances()
        records[3]["status"] = "stopped"
        second = await c.api.sweep_instances()
    assert second.instances["inst_000003"].status == "stopped"
    same = [i for i, one in first.instances.items() if second.instances[i] is one]
    assert len(same) == 149
    assert first.instances["inst_000001"].region is first.instances["inst_000149"].region


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (error(401, "UNAUTHORIZED"), UnauthorizedError, "unauthorized"),
        (Reply(403, b"<html>"), UnauthorizedError, "unauthorized"),
        (error(404, "NOT_FOUND"), RefusedError, "refused"),
        (error(408, "TIMEOUT"), UnavailableError, "timeout"),
        (error(429, "SLOW_DOWN"), ThrottledError, "throttled"),
        (error(500, "OOPS"), UnavailableError, "server_error"),
        (Reply(503, b"", {"Content-Type": "text/html"}), UnavailableError, "server_error"),
        (Reply(301, b"", {"Location": "/v1/other"}), BadAnswerError, "redirect"),
        (Reply(307, b"", {"Location": "https://example.com/"}), BadAnswerError, "redirect"),
        (Reply(304, b""), BadAnswerError, "redirect"),
        (Reply(200, b"<!doctype html><p>hello"), BadAnswerError, "invalid"),
        (Reply(200, b""), BadAnswerError, "invalid"),
        (Reply(204, b""), BadAnswerError, "invalid"),
        (Reply(200, json.dumps(REGIONS).encode()[:-3]), BadAnswerError, "invalid"),
        (Reply(200, json.dumps(REGIONS).encode(), cut=20), BadAnswerError, "invalid"),
        (Reply(200, b'{"regions": [{"slug": "\xff\xfe"}]}'), BadAnswerError, "invalid"),
        (Reply(200, b'{"regions": [], "x": "\xff\xfe"}'), BadAnswerError, "invalid"),
        (Reply(200, b'{"regions": [{"slug": "a", "avg_latency_ms": NaN}]}'), BadAnswerError, "invalid"),
        (Reply(200, b'{"regions": [{"slug": "a", "x": Infinity}]}'), BadAnswerError, "invalid"),
        (
            Reply(200, b'{"regions": [], "x": ' + b"[" * 90_000 + b"]" * 90_000 + b"}"),
            BadAnswerError,
            "invalid",
        ),
        (Reply(200, b'{"regions": ' + b"[" * 90_000), BadAnswerError, "invalid"),
        (reply([]), BadAnswerError, "invalid"),
        (reply({"regions": None}), BadAnswerError, "invalid"),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n", close=True), BadAnswerError, "invalid"),
        (Reply(raw=b"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\n{}"), UnavailableError, "server_error"),
        (Reply(drop=True), UnavailableError, "reset"),
        (Reply(200, b"{}", {"Content-Encoding": "br"}), BadAnswerError, "invalid"),
        (Reply(200, b"not gzip", {"Content-Encoding": "gzip"}), BadAnswerError, "invalid"),
        (Reply(200, ZIPPED[:-9], {"Content-Encoding": "gzip"}), BadAnswerError, "invalid"),
        (Reply(200, ZIPPED[:-4], {"Content-Encoding": "gzip"}), BadAnswerError, "invalid"),
        (Reply(200, ZIPPED + b"more", {"Content-Encoding": "gzip"}), BadAnswerError, "invalid"),
        (Reply(200, b"x" * 70_000), BadAnswerError, "too_large"),
    ],
)
def test_each_unusable_answer_is_an_error_of_its_kind(answer: Reply, kind: type, reason: str) -> None:
    @in_virtual_time
    async def scenario() -> ApiError:
        limit = 400_000 if len(answer.body) > 80_000 else 64_000
        async with cloud(always(answer), max_body_bytes=limit, **ONCE) as c:
            failed = await failure(c)
            assert c.api.last_answer_at("regions") is None
            assert KEY not in chain_text(failed)
            return failed

    failed = scenario()
    assert type(failed) is kind
    assert failed.reason == reason


@in_virtual_time
async def test_an_answer_larger_than_the_bound_is_refused_though_it_declares_no_length() -> None:
    raw = b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + b" " * 300_000
    async with cloud(always(Reply(raw=raw, close=True)), max_body_bytes=64_000, **ONCE) as c:
        assert (await failure(c)).reason == "too_large"


@in_virtual_time
async def test_a_body_without_end_is_refused_while_memory_stays_flat() -> None:
    raw = b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n"
    async with cloud(always(Reply(raw=raw, endless=True)), **ONCE) as c:
        tracemalloc.start()
        failed = await failure(c)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert failed.reason == "too_large"
    assert peak < 20_000_000


@in_virtual_time
async def test_an_answer_that_declares_too_much_is_refused_before_it_comes() -> None:
    raw = b"HTTP/1.1 200 X\r\nContent-Length: 1000000000\r\n\r\n"
    async with cloud(always(Reply(raw=raw)), **ONCE) as c:
        assert (await failure(c)).reason == "too_large"
        assert c.clock.now() - VIRTUAL_EPOCH < 1.0


@in_virtual_time
async def test_a_compressed_answer_is_read() -> None:
    async with cloud(always(Reply(200, ZIPPED, {"Content-Encoding": "gzip"}))) as c:
        assert (await c.api.read_regions()).regions.keys() == {"us-east-1"}


@pytest.mark.slow
@in_virtual_time
async def test_a_gzip_bomb_is_refused_while_memory_stays_flat() -> None:
    squeezer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(squeezer.compress(bytes(1_000_000)) for _ in range(300)), squeezer.flush()])
    async with cloud(always(Reply(200, bomb, {"Content-Encoding": "gzip"})), **ONCE) as c:
        tracemalloc.start()
        failed = await failure(c)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert failed.reason == "too_large"
    assert peak < 20_000_000


@in_virtual_time
async def test_a_slow_drip_ends_at_the_total_timeout() -> None:
    dripping = Reply(200, json.dumps(REGIONS).encode(), drip_s=1.0)
    async with cloud(always(dripping), timeout_s=10.0, **ONCE) as c:
        await asyncio.sleep(0.3)
        assert (await failure(c)).reason == "timeout"
        assert c.clock.now() - VIRTUAL_EPOCH == pytest.approx(10.3, abs=0.1)


@in_virtual_time
async def test_a_refused_connection_is_an_unavailable_api() -> None:
    async with cloud(always(Reply())) as c:
        pass
    async with cloud(always(Reply()), base_url=c.server.base_url, **ONCE) as other:
        failed = await failure(other)
    assert failed.reason == "connect"
    assert str(failed) == "GET /regions: cannot connect (connection refused)"


# instances that do not fit


@pytest.mark.parametrize("instance_id", [None, "", True, [], {}, "missing"])
@in_virtual_time
async def test_a_record_without_an_id_makes_the_listing_partial_and_is_named(instance_id: object) -> None:
    bad = record(1, id=instance_id)
    if instance_id == "missing":
        del bad["id"]
    async with cloud(listing([record(0), bad])) as c:
        with pytest.raises(BadAnswerError, match="record 1 has no usable `id`") as caught:
            await c.api.sweep_instances()
        assert caught.value.reason == "partial"
        assert c.api.last_answer_at("instances") is not None
        assert len(c.server.requests) == 1


@pytest.mark.parametrize("slug", [None, "", False, [], "missing"])
@in_virtual_time
async def test_a_region_without_a_slug_makes_the_reading_partial_and_is_named(slug: object) -> None:
    bad = {"slug": slug} if slug != "missing" else {"name": "London"}
    async with cloud(always(reply({"regions": [{"slug": "a"}, bad]}))) as c:
        failed = await failure(c)
        assert "region 1 of the response has no slug" in str(failed)
        assert failed.reason == "partial"
        assert c.api.last_answer_at("regions") is not None


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"meta": {"total": 0, "limit": 100, "offset": 0}},
        {"data": [], "meta": {"limit": 100, "offset": 0}},
        {"data": [], "meta": {"total": 0.5, "limit": 100, "offset": 0}},
        {"data": [], "meta": {"total": 0, "limit": 0, "offset": 0}},
        {"data": [record(0)], "meta": {"total": 0, "limit": 100, "offset": 0}},
        {"data": None, "meta": {"total": 0, "limit": 100, "offset": 0}},
        {"data": ["x"], "meta": {"total": 1, "limit": 100, "offset": 0}},
    ],
)
def test_a_page_without_sound_meta_is_partial(answer: object) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with cloud(always(reply(answer))) as c:
            with pytest.raises(BadAnswerError) as caught:
                await c.api.sweep_instances()
            assert caught.value.reason == "partial"

    scenario()


@in_virtual_time
async def test_optional_fields_of_a_wrong_type_are_read_as_missing_and_unknown_ones_ignored() -> None:
    odd = record(0, public_ip=17, created_at=[], specs="big", status="hibernating", colour="blue")
    async with cloud(listing([odd, record(1, public_ip="192.0.2.1")])) as c:
        instances = (await c.api.sweep_instances()).instances
    assert instances["inst_000000"].status == "hibernating"
    assert instances["inst_000000"].public_ip is None
    assert instances["inst_000000"].specs is None
    assert instances["inst_000001"].public_ip == "192.0.2.1"


@in_virtual_time
async def test_one_page_that_fails_fails_the_sweep() -> None:
    page = listing([record(n) for n in range(500)])

    def respond(request: Request) -> Reply:
        return error(500, "OOPS") if request.query["offset"] == "297" else page(request)

    async with cloud(respond) as c:
        with pytest.raises(UnavailableError):
            await c.api.sweep_instances()
        assert c.api.last_answer_at("instances") is not None


@in_virtual_time
async def test_a_sweep_ends_in_bounded_time() -> None:
    page = listing([record(n) for n in range(500)])

    def respond(request: Request) -> Reply:
        return Reply(body=page(request).body, after_s=8.0)

    async with cloud(respond, sweep_timeout_s=12.0) as c:
        with pytest.raises(UnavailableError) as caught:
            await c.api.sweep_instances()
        assert c.clock.now() - VIRTUAL_EPOCH == pytest.approx(12.0)
    assert caught.value.reason == "timeout"


# tried again


@in_virtual_time
async def test_a_get_is_tried_again_after_a_server_error_and_counted() -> None:
    async with cloud(in_turn(error(502, "BAD"), Reply(drop=True), reply(REGIONS))) as c:
        assert (await c.api.read_regions()).regions
    assert c.metrics.counts["api_retry", "/regions"] == 2
    assert c.metrics.counts["api_request", "/regions", "GET", "502"] == 1
    assert c.metrics.counts["api_request", "/regions", "GET", "reset"] == 1
    assert c.metrics.counts["api_request", "/regions", "GET", "200"] == 1


@in_virtual_time
async def test_a_failing_get_ends_after_so_many_tries_within_its_budget() -> None:
    hanging = Reply(after_s=3600.0)
    async with cloud(always(hanging), get_tries=100, get_budget_s=30.0) as c:
        assert (await failure(c)).reason == "timeout"
        assert c.clock.now() - VIRTUAL_EPOCH <= 30.1
    async with cloud(always(error(500, "OOPS"))) as c:
        await failure(c)
    assert len(c.server.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_of_the_request_or_the_key_is_not_tried_again(status: int) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with cloud(always(error(status, "NO"))) as c:
            await failure(c)
            assert len(c.server.requests) == 1
            await failure(c)
            assert len(c.server.requests) == 2

    scenario()


@pytest.mark.parametrize(
    ("header", "waits_s"), [("7", 7), ("-5", 1), ("0", 1), (formatdate(VIRTUAL_EPOCH + 9, usegmt=True), 9)]
)
def test_retry_after_is_waited_for(header: str, waits_s: float) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with cloud(in_turn(error(429, "SLOW", Retry_After=header), reply(REGIONS))) as c:
            await c.api.read_regions()
            assert c.clock.now() - VIRTUAL_EPOCH == pytest.approx(waits_s, abs=0.6)

    scenario()


@in_virtual_time
async def test_a_retry_after_date_is_measured_from_the_date_of_the_response() -> None:
    dates = {"Date": formatdate(7200.0, usegmt=True), "Retry-After": formatdate(7202.0, usegmt=True)}
    async with cloud(in_turn(Reply(429, b"", dates), reply(REGIONS))) as c:
        await c.api.read_regions()
        assert c.clock.now() - VIRTUAL_EPOCH == pytest.approx(2.0, abs=0.6)


@pytest.mark.parametrize(
    "headers", [{"Content-Security-Policy": "a" * 100_000}, {f"X-{n}": "y" for n in range(400)}]
)
@in_virtual_time
async def test_large_headers_are_read(headers: dict[str, str]) -> None:
    async with cloud(always(Reply(200, json.dumps(REGIONS).encode(), headers)), **ONCE) as c:
        assert (await c.api.read_regions()).regions


@in_virtual_time
async def test_headers_without_end_are_not_read() -> None:
    raw = b"HTTP/1.1 200 X\r\n" + b"X: y\r\n" * 100_000
    async with cloud(always(Reply(raw=raw, close=True)), **ONCE) as c:
        assert (await failure(c)).reason == "invalid"


@in_virtual_time
async def test_retry_after_holds_back_every_other_request_too() -> None:
    def respond(request: Request) -> Reply:
        if request.path == "/v1/regions":
            return error(503, "BUSY", Retry_After="20")
        return listing([record(0)])(request)

    async with cloud(respond, **ONCE) as c:
        await failure(c)
        await c.api.sweep_instances()
        assert c.server.requests[-1].at == pytest.approx(20.0, abs=0.1)


@in_virtual_time
async def test_a_wait_beyond_the_budget_is_throttled_at_once_and_nothing_is_sent() -> None:
    async with cloud(always(error(429, "SLOW", Retry_After="99999"))) as c:
        failed = await failure(c)
        assert isinstance(failed, ThrottledError)
        assert failed.retry_after_s == 300.0
        again = await failure(c)
        assert isinstance(again, ThrottledError)
        assert again.retry_after_s == pytest.approx(300.0, abs=1)
        assert c.clock.now() - VIRTUAL_EPOCH < 1.0
    assert len(c.server.requests) == 1


# the circuit


@in_virtual_time
async def test_a_dead_api_gets_one_probe_at_a_time_at_most_30_s_apart() -> None:
    async with cloud(always(Reply(drop=True))) as c:
        await failure(c)
        assert c.metrics.counts["api_circuit", "open"] == 0
        await failure(c)
        assert c.metrics.counts["api_circuit", "open"] == 1
        opened = len(c.server.requests)
        for _ in range(40):
            await asyncio.gather(failure(c), failure(c))
            await asyncio.sleep(15.0)
        times = [r.at for r in c.server.requests[opened:]]
    assert 20 <= len(times) <= 40
    assert all(1.0 <= b - a <= 30.1 for a, b in itertools.pairwise(times))


@in_virtual_time
async def test_while_the_circuit_is_open_others_fail_at_once() -> None:
    async with cloud(always(Reply(500, b"", after_s=4.0)), circuit_failures=1) as c:
        await failure(c)
        assert (await failure(c)).reason == "circuit_open"
        await asyncio.sleep(1.5)
        probe = asyncio.ensure_future(failure(c))
        await asyncio.sleep(1.0)
        before = c.clock.now()
        assert (await failure(c)).reason == "circuit_open"
        assert c.clock.now() == before
        assert (await probe).reason == "server_error"


@in_virtual_time
async def test_a_probe_that_succeeds_closes_the_circuit() -> None:
    async with cloud(in_turn(error(500, "OOPS"), reply(REGIONS)), circuit_failures=1) as c:
        await failure(c)
        await asyncio.sleep(2.0)
        await c.api.read_regions()
        await c.api.read_regions()
    assert c.metrics.counts["api_circuit", "closed"] == 2  # at its start, and now


@in_virtual_time
async def test_a_cancelled_probe_lets_the_next_one_through() -> None:
    async with cloud(
        in_turn(error(500, "OOPS"), Reply(after_s=60.0), reply(REGIONS)), circuit_failures=1
    ) as c:
        await failure(c)
        await asyncio.sleep(2.0)
        probe = asyncio.ensure_future(c.api.read_regions())
        await asyncio.sleep(1.0)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert (await c.api.read_regions()).regions


@in_virtual_time
async def test_a_failing_endpoint_does_not_stop_the_other() -> None:
    def respond(request: Request) -> Reply:
        if request.path == "/v1/regions":
            return error(503, "OOPS")
        return listing([record(0)])(request)

    async with cloud(respond, circuit_failures=1) as c:
        for _ in range(3):
            await failure(c)
            assert len((await c.api.sweep_instances()).instances) == 1
        assert c.metrics.counts["api_circuit", "open"] == 1


@in_virtual_time
async def test_the_metric_shows_whether_any_circuit_is_open() -> None:
    broken = {"/v1/regions", "/v1/instances"}

    def respond(request: Request) -> Reply:
        if request.path in broken:
            return error(503, "OOPS")
        return reply(REGIONS) if request.path == "/v1/regions" else listing([record(0)])(request)

    async with cloud(respond, circuit_failures=1, circuit_first_wait_s=1.0) as c:
        await failure(c)
        with pytest.raises(UnavailableError):
            await c.api.sweep_instances()
        broken.discard("/v1/instances")
        await asyncio.sleep(2.0)
        await c.api.sweep_instances()
        assert c.metrics.counts["api_circuit", "closed"] == 1  # at the start
        broken.clear()
        await c.api.read_regions()
        assert c.metrics.counts["api_circuit", "closed"] == 2


@in_virtual_time
async def test_refusals_do_not_open_the_circuit() -> None:
    async with cloud(always(error(401, "NO")), circuit_failures=2) as c:
        for _ in range(5):
            assert isinstance(await failure(c), UnauthorizedError)


@in_virtual_time
async def test_after_closing_nothing_can_be_asked() -> None:
    async with cloud(always(reply(REGIONS)), **ONCE) as c:
        await c.api.close()
        with pytest.raises(UnavailableError):
            await c.api.read_regions()
