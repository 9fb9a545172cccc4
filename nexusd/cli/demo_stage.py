"""The demo's stage: starts the emulator, the receiver and the daemon, plays the story, prints all of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from nexusd import app, settings
from nexusd.cli.demo_receiver import DemoReceiver
from nexusd.cli.demo_story import tell
from nexusd.cli.options import DEFAULT_URL
from nexusd.cli.output import printable
from nexusd.core.errors import ConfigError, StartError
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import DEMO_API_KEY, EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from nexusd.runtime.logs import LogOptions, logs_configured
from nexusd.settings.values import split_address
from nexusd.web.listening import listen, written

INSTANCES = 60
LOOK_EVERY_S = 0.2
READY_WITHIN_S = 30.0
AT_ONCE = {"group_wait": "0s", "group_interval": "1s"}
NO_FILE = Path("/dev/null")
"""The demo's configuration is its own, whatever this machine has under /etc."""


class Stage:
    """Prints lines: seconds since the start, the part that speaks, and a text.

    A line that cannot be printed (closed pipe, full disk) stops the demo in order: `failure` has the error.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self.failure: OSError | None = None
        self._stop = stop
        self._began_at = time.monotonic()
        self._wrapped = sys.stdout.isatty()
        self._coloured = self._wrapped and not os.environ.get("NO_COLOR")

    def line(self, who: str, text: str, colour: str = "0") -> None:
        begin = f"{time.monotonic() - self._began_at:6.1f}s  {who:<9} "
        plain = begin + printable(text)
        if self._wrapped:
            plain = _wrapped(plain, len(begin))
        if self.failure is not None:
            return
        try:
            print(f"\x1b[{colour}m{plain}\x1b[0m" if self._coloured else plain, flush=True)
        except OSError as error:
            self.failure = error
            self._stop.set()

    def say(self, text: str) -> None:
        self.line("demo", text, "1")

    def told(self, status: str, alert: str, summary: str) -> None:
        self.line("webhook", f"{status}: {alert}: {summary}", "31" if status == "firing" else "32")


def _wrapped(text: str, indent: int) -> str:
    """To the terminal's width; what follows the first line stands below its words."""
    width = shutil.get_terminal_size().columns
    if width <= 2 * indent:
        return text
    return textwrap.fill(
        text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


async def play(address: str, ends_after_s: float | None) -> None:
    """Play the demo until a signal, or for so many seconds.

    Raises `NexusdError` if the daemon cannot start, and `OSError` if the output cannot be written.
    """
    stop = asyncio.Event()
    stage = Stage(stop)
    host, port = await _free(address)
    cloud = Cloud(EmulatorOptions(instances=INSTANCES, pending_s=1.0, provisioning_s=2.0))
    with tempfile.TemporaryDirectory(prefix="nexusd-demo-") as folder:
        async with EmulatorServer(cloud) as server, DemoReceiver(stage.told) as receiver:
            overrides = _configuration(server.url, receiver.url, written(host, port), Path(folder))
            load = partial(settings.load, NO_FILE, overrides, {})
            loaded = load()
            with logs_configured(LogOptions("error", "auto")):
                audience = _watch(stage, cloud, _url(host, port), stop, ends_after_s)
                await _together(app.serve(loaded, load, stop), audience, stop)
    stage.say("ended; nothing is left behind")
    if stage.failure is not None:
        raise stage.failure


async def _free(address: str) -> tuple[str, int]:
    """The host and a port where nobody listens: whoever did would be taken for the demo's own daemon.

    Raises `ConfigError`, `StartError`.
    """
    try:
        host, port = split_address(address)
    except ValueError as error:
        raise ConfigError(f"--listen {address!r} is not {error}") from None
    try:
        listening = await listen(host, port)
    except StartError as error:
        why = str(error).removesuffix("; set server.listen")
        raise StartError(f"{why}; choose another by --listen (port 0: any that is free)") from error
    sockets = listening.shared()
    free = int(sockets[0].getsockname()[1])
    for each in sockets:
        each.close()
    listening.close()
    return host, free


def _url(host: str, port: int) -> str:
    """As seen from this machine."""
    if host in ("", "0.0.0.0"):  # noqa: S104 - it was asked for
        host = "127.0.0.1"
    return f"http://{written('::1' if host == '::' else host, port)}"


async def _together(
    daemon: Coroutine[Any, Any, None], audience: Coroutine[Any, Any, None], stop: asyncio.Event
) -> None:
    """Run both until one ends, then stop the other.

    Neither uses the folder after this returns.

    Raises the error of the daemon, else that of an audience that ended first.
    """
    running = asyncio.ensure_future(daemon)
    watching = asyncio.ensure_future(audience)
    try:
        ended, _ = await asyncio.wait([running, watching], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        watching.cancel()
        await asyncio.gather(running, watching, return_exceptions=True)
    await running
    error = watching.exception() if watching in ended and not watching.cancelled() else None
    if error is not None:
        raise _first(error)


def _first(error: BaseException) -> BaseException:
    """Return the first error of a group of groups."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _configuration(cloud_url: str, receiver_url: str, listen: str, folder: Path) -> Mapping[str, object]:
    """Everything is quicker than by default, so that there is something to see."""
    return {
        "cloudnexus.base_url": cloud_url,
        "cloudnexus.api_key": DEMO_API_KEY,
        "cloudnexus.timeout": "3s",
        "polling.regions": "1s",
        "polling.instances": "1s",
        "placement.settle": "4s",
        "alerts.rules": {"RegionUnhealthy": {"for": "1s"}, "NoEligibleRegion": {"for": "1s"}},
        "fleets": [{"name": "web", "count": 4, "plan": "starter"}],
        "receivers": [{"name": "demo", "type": "webhook", "url": receiver_url}],
        "routes": [
            {
                "receivers": ["demo"],
                "matchers": ['severity!="none"'],
                "group_wait": "0s",
                "group_interval": "1s",
            }
        ],
        "server.listen": listen,
        "store.url": f"sqlite:///{folder / 'nexusd.db'}",
        "log.level": "error",
    }


async def _watch(
    stage: Stage, cloud: Cloud, url: str, stop: asyncio.Event, ends_after_s: float | None
) -> None:
    """The audience: waits until the daemon is ready, starts the story, and reads the events as they come."""
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=10)) as http:
        stage.say("starting an emulated CloudNexus, the daemon and a webhook receiver")
        await _ready(http)
        status = await _get(http, "/api/v1/regions")
        stage.say(f"polled: {INSTANCES} instances in {len(status['regions'])} regions")
        stage.say(f"look at {url}/ and {url}/metrics, or ask from another terminal:")
        stage.say(
            f"{'' if url == DEFAULT_URL else f'NEXUSD_URL={url} '}nexusd status   (Ctrl-C ends the demo)"
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(_events(http, stage), name="demo events")
            group.create_task(_story(http, stage, cloud), name="demo story")
            with suppress(TimeoutError):
                async with asyncio.timeout(ends_after_s):
                    await stop.wait()
            raise asyncio.CancelledError


async def _ready(http: aiohttp.ClientSession) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(aiohttp.ClientError):
            async with http.get("/-/ready") as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(LOOK_EVERY_S)
    raise StartError(f"the demo was not ready within {READY_WITHIN_S:.0f}s")


async def _story(http: aiohttp.ClientSession, stage: Stage, cloud: Cloud) -> None:
    async def place(name: str) -> None:
        async with http.post("/api/v1/placements", json={"name": name, "plan": "pro"}) as answer:
            body = await answer.json()
            if answer.status != 202:
                stage.say(f"{name} was refused: {body['error']['message']}")

    await tell(cloud, place, stage.say)
    stage.say("the incidents are over; the daemon goes on until Ctrl-C")


async def _events(http: aiohttp.ClientSession, stage: Stage) -> None:
    seen = 0
    while True:
        with suppress(aiohttp.ClientError):  # while the daemon stops
            body = await _get(http, f"/api/v1/events?since={seen}")
            for event in body["data"]:
                seen = max(seen, int(event["id"]))
                text = _describe(event)
                if text is not None:
                    stage.line("nexusd", text, "36")
        await asyncio.sleep(LOOK_EVERY_S)


def _describe(event: Mapping[str, Any]) -> str | None:
    """One event in a line; None for what the webhook tells anyway."""
    subject, detail = event["subject"], event["detail"]
    name = subject["id"] if subject["kind"] == "region" else subject["name"] or subject["id"]
    where = f" in {subject['region']}" if subject["region"] and subject["kind"] != "region" else ""
    match event["type"]:
        case "PlacementStateChanged":
            why = f" ({detail['reason']})" if detail["reason"] else ""
            return f"placement {name}: {detail['from']} → {detail['to']}{where}{why}"
        case "InstanceStatusChanged" | "RegionStatusChanged":
            return f"{subject['kind']} {name}{where}: {detail['from']} → {detail['to']}"
        case "InstanceAppeared":
            return f"instance {name} appeared{where}, {detail['status']}"
        case _:
            return None


async def _get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path, raise_for_status=True) as answer:
        return await answer.json()
