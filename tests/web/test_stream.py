"""`GET /api/v1/events` as a stream: what is sent, where it resumes, what it costs, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event, Subject
from nexusd.web import frames as frames_module
from nexusd.web.frames import Frame, Recent
from nexusd.web.stream import StreamOptions
from tests.web.fakes import NOW
from tests.web.site import STREAMING, Site
from tests.web.test_metrics import scrape

WANTED = {"Accept": "text/event-stream"}
QUICK = StreamOptions(poll_s=0.01, gather_s=0.001, page_pause_s=0.0, keepalive_s=0.02, slow_after_s=0.2)
LONG = 5.0
"""Seconds after which a test is failed rather than waited for."""


def event(number: int, **detail: object) -> Event:
    subject = Subject("instance", "inst_1", "worker-1", "us-east-1")
    return Event(NOW + number, "InstanceVanished", subject, detail, id=number)


def events(numbers: Iterable[int]) -> list[Event]:
    return [event(number) for number in numbers]


class Following:
    """One client of the stream: the fields of what comes, block by block."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> dict[str, str]:
        """The next block; `""` is the name of a comment."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(LONG):
            while line := (await self.response.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
        return fields

    async def ids(self, count: int) -> list[int]:
        """Of the next events; comments and what comes before the first are passed over."""
        found: list[int] = []
        while len(found) < count:
            block = await self.block()
            if "data" in block:
                assert json.loads(block["data"])["id"] == int(block["id"])
                found.append(int(block["id"]))
        return found

    async def rest(self) -> bytes:
        async with asyncio.timeout(LONG):
            return await self.response.content.read()


@asynccontextmanager
async def following(site: Site, query: str = "", **headers: str) -> AsyncIterator[Following]:
    url = f"{site.server.url}api/v1/events{query}"
    given = WANTED | {name.replace("_", "-"): value for name, value in headers.items()}
    async with site.session.get(url, headers=given) as response:
        assert response.status == 200
        yield Following(response)


@asynccontextmanager
async def site_with(options: StreamOptions = STREAMING, stored: Iterable[int] = ()) -> AsyncIterator[Site]:
    made = Site(streaming=options)
    made.store.events.rows = events(stored)
    async with made.running():
        yield made


async def test_it_is_sent_as_a_stream_that_nobody_keeps_or_holds_up(site: Site) -> None:
    async with following(site) as reader:
        headers = reader.response.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


async def test_an_event_is_sent_with_its_id_its_type_and_its_shape(site: Site) -> None:
    async with following(site) as reader:
        assert await reader.block() == {"retry": "2000", "id": "0"}
        site.store.events.rows = [event(1, status="two\nlines")]
        block = await reader.block()
    assert (block["id"], block["event"]) == ("1", "InstanceVanished")
    assert json.loads(block["data"]) == {
        "id": 1,
        "at": "2023-11-14T22:13:21.000Z",
        "type": "InstanceVanished",
        "subject": {"kind": "instance", "id": "inst_1", "name": "worker-1", "region": "us-east-1"},
        "detail": {"status": "two\nlines"},
    }


@pytest.mark.parametrize(
    "accept",
    ["text/event-stream", "text/event-stream, application/json;q=0.5", "*/*;q=0.1, text/event-stream"],
)
async def test_the_stream_is_for_who_asks_for_it(site: Site, accept: str) -> None:
    async with following(site, Accept=accept) as reader:
        assert reader.response.content_type == "text/event-stream"


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json, text/event-stream;q=0.5", "text/event-stream;q=0"]
)
async def test_others_get_the_history(site: Site, accept: str) -> None:
    answer = await site.get("/api/v1/events", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/json"


async def test_without_a_beginning_it_begins_now_and_says_from_where() -> None:
    async with site_with(stored=range(1, 6)) as site, following(site) as reader:
        assert (await reader.block())["id"] == "5"
        site.store.events.rows += events([6])
        assert await reader.ids(1) == [6]


@pytest.mark.parametrize(
    ("query", "headers", "ids"),
    [
        ("?since=3", {}, [4, 5]),
        ("", {"Last_Event_ID": "3"}, [4, 5]),
        ("?since=1", {"Last_Event_ID": "3"}, [4, 5]),
        ("?since=0", {"Last_Event_ID": ""}, [1, 2, 3, 4, 5]),
        ("?since=2023-11-14T22:13:24Z", {}, [4, 5]),
        ("?since=2000-01-01T00:00:00Z", {}, [1, 2, 3, 4, 5]),
    ],
)
async def test_it_resumes_without_a_gap(query: str, headers: dict[str, str], ids: list[int]) -> None:
    async with site_with(stored=range(1, 6)) as site, following(site, query, **headers) as reader:
        site.store.events.rows += events([6])
        assert await reader.ids(len(ids) + 1) == [*ids, 6]


async def test_ids_need_not_be_in_the_order_of_times() -> None:
    """Another replica's clock was ahead: the event at 3 s was written before that at 2 s."""
    async with site_with() as site:
        early = [event(1), event(2)]
        site.store.events.rows = [Event(NOW + 3, *_rest(early[0], 1)), Event(NOW + 2, *_rest(early[1], 2))]
        async with following(site, "?since=2023-11-14T22:13:22Z") as reader:
            assert await reader.ids(2) == [1, 2]


def _rest(of: Event, number: int) -> tuple[Any, ...]:
    return of.type, of.subject, of.detail, number


async def test_a_long_history_is_sent_page_by_page_and_goes_on_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexusd.web.stream.RECENT", 100)
    monkeypatch.setattr(frames_module, "RECENT", 100)
    async with site_with(stored=range(1, 5_001)) as site, following(site, "?since=0") as reader:
        found = await reader.ids(5_000)
        site.store.events.rows += events([5_001])
        assert [*found, *await reader.ids(1)] == list(range(1, 5_002))


async def test_readers_share_what_is_read_of_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexusd.web.stream.RECENT", 10)
    monkeypatch.setattr(frames_module, "RECENT", 10)
    quiet = StreamOptions(poll_s=3600.0, page_pause_s=0.0)
    async with site_with(quiet, stored=range(1, 1_001)) as site, following(site) as first:
        await first.block()
        before = site.store.runs

        async def one() -> list[int]:
            async with following(site, Last_Event_ID="10") as reader:
                return await reader.ids(990)

        found = await asyncio.gather(*(one() for _ in range(20)))
        assert found == [list(range(11, 1_001))] * 20
        assert site.store.runs - before <= 4


async def test_events_cost_one_reading_however_many_read() -> None:
    async with site_with(StreamOptions(poll_s=3600.0, gather_s=0.0)) as site:
        readers = [following(site) for _ in range(30)]
        opened = [await reader.__aenter__() for reader in readers]
        for reader in opened:
            await reader.block()
        before = site.store.runs
        site.store.events.rows += events([1])
        site.stream.wake()
        assert [await reader.ids(1) for reader in opened] == [[1]] * 30
        assert site.store.runs - before == 1
        for reader in readers:
            await reader.__aexit__(None, None, None)


async def test_nothing_is_read_while_nobody_follows() -> None:
    async with site_with(QUICK) as site:
        async with following(site) as reader:
            await reader.block()
        async with asyncio.timeout(LONG):
            while site.stream.followed:
                await asyncio.sleep(0.001)
        await asyncio.sleep(2 * QUICK.poll_s)  # what was under way
        before = site.store.runs
        await asyncio.sleep(5 * QUICK.poll_s)
        assert site.store.runs == before
        async with following(site) as reader:
            await reader.block()
            site.store.events.rows += events([1])
            assert await reader.ids(1) == [1]


async def test_a_quiet_stream_shows_that_it_lives() -> None:
    async with site_with(QUICK) as site, following(site) as reader:
        await reader.block()
        assert await reader.block() == {"": ""}


async def test_an_id_of_another_store_begins_now() -> None:
    """After a backup was restored the ids are lower than what a client has seen."""
    async with site_with(stored=[1, 2]) as site, following(site, Last_Event_ID="900") as reader:
        assert (await reader.block())["id"] == "2"
        site.store.events.rows += events([3])
        assert await reader.ids(1) == [3]


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "٣", "1" * 20])
async def test_a_bad_last_event_id_is_named(site: Site, value: str) -> None:
    answer = await site.get("/api/v1/events", headers=WANTED | {"Last-Event-ID": value})
    assert (answer.status, answer.fields) == (400, ["Last-Event-ID"])


async def test_head_is_answered_and_does_not_follow(site: Site) -> None:
    answer = await site.ask("HEAD", "/api/v1/events", headers=WANTED)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/event-stream", b"")


async def test_one_reader_too_many_is_refused_and_counted_and_logged_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with site_with(StreamOptions(max_readers=1)) as site, following(site) as reader:
        await reader.block()
        for _ in range(3):
            answer = await site.get("/api/v1/events", headers=WANTED)
            assert (answer.status, answer.error["code"]) == (503, "TOO_MANY_READERS")
        assert await scrape(site, "http_connections_shed_total", reason="event_readers") == 3
        assert await scrape(site, "http_connections_shed_total", reason="refused") == 0
    assert capsys.readouterr().out.count("event_readers_limited") == 1


async def test_without_the_store_it_does_not_begin() -> None:
    async with site_with(StreamOptions(store_timeout_s=0.05)) as site:
        site.store.error = StoreUnavailableError("disk full")
        answer = await site.get("/api/v1/events", headers=WANTED)
        assert (answer.status, answer.error["code"]) == (503, "STORE_UNAVAILABLE")


async def test_readers_stay_while_the_store_is_away() -> None:
    async with site_with(QUICK) as site, following(site) as reader:
        await reader.block()
        site.store.error = StoreUnavailableError("disk full")
        assert await reader.block() == {"": ""}
        site.store.events.rows += events([1])
        site.store.error = None
        assert await reader.ids(1) == [1]


async def test_it_ends_with_the_daemon(site: Site) -> None:
    async with following(site) as reader:
        await reader.block()
        site.following.cancel()
        assert await reader.rest() == b""


async def test_who_comes_while_the_daemon_stops_is_sent_away_to_come_again(site: Site) -> None:
    site.following.cancel()
    await asyncio.wait([site.following])
    async with following(site) as reader:
        assert await reader.rest() == b"retry: 2000\n\n"


async def test_a_reader_that_takes_nothing_is_dropped_and_resumes_without_loss() -> None:
    large = [event(n, text="x" * 10_000) for n in range(1, 2_001)]
    async with site_with(QUICK) as site:
        site.store.events.rows = large
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1 << 10)
        writer.write(
            b"GET /api/v1/events?since=0 HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        )
        while not site.stream.followed:
            await asyncio.sleep(0.001)
        async with asyncio.timeout(LONG):
            while site.stream.followed:
                await asyncio.sleep(0.01)
        taken = await _until_cut(reader)
        writer.close()
        last = int(taken.rpartition(b"\n\n")[0].rpartition(b"id: ")[2].split(b"\n", 1)[0])
        assert 0 < last < 2_000
        async with following(site, Last_Event_ID=str(last)) as again:
            assert await again.ids(2_000 - last) == list(range(last + 1, 2_001))


async def _until_cut(reader: asyncio.StreamReader) -> bytes:
    taken = b""
    try:
        while more := await reader.read(1 << 16):
            taken += more
    except ConnectionError:
        pass
    return taken


async def test_one_that_takes_nothing_does_not_delay_the_stop() -> None:
    async with site_with(StreamOptions(poll_s=0.01, slow_after_s=3600.0)) as site:
        site.store.events.rows = [event(n, text="x" * 10_000) for n in range(1, 2_001)]
        _, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1 << 10)
        writer.write(
            b"GET /api/v1/events?since=0 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        )
        async with asyncio.timeout(LONG):
            while not any(reader.sending for reader in site.stream._readers):  # noqa: SLF001
                await asyncio.sleep(0.01)
            site.following.cancel()
            while site.stream.followed:
                await asyncio.sleep(0.001)
        writer.close()


def test_what_is_kept_of_the_newest_is_bounded_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "RECENT_BYTES", 1_000)
    recent = Recent()
    recent.add([Frame(n, NOW, b"x" * 400) for n in range(1, 6)], 5)
    page = recent.after(3)
    assert page is not None
    assert [frame.id for frame in page.frames] == [4, 5]
    assert recent.after(2) is None
