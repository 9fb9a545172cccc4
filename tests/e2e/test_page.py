"""The status page in a real browser: during the demo, without scripts, by a token, and through incidents."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.browser import Axe, BrowserContext, Page, Seen, browser, expect
from tests.e2e.daemon import KEY, DaemonProcess, environment, free_port
from tests.e2e.proxies import proxy
from tests.requirements import need
from tests.silent_proxy import SilentProxy

pytestmark = pytest.mark.slow

SECTIONS = ("alerts", "regions", "instances", "fleets", "placements", "events", "daemon")
LOST = re.compile(r"Connection to nexusd lost — showing data from \d\d:\d\d:\d\d UTC$")
COLOURS = "(found) => new Set(found.map((node) => getComputedStyle(node).color)).size"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(autouse=True)
def _installed() -> None:
    need(Axe, "playwright and axe-playwright-python are not installed")


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[str]:
    """A running demo's address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "nexusd", "demo", "--listen", f"127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL, env=environment(folder), cwd=folder,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/"
    try:
        await ready(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 15.0)


async def ready(url: str) -> None:
    async with asyncio.timeout(20.0), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def opened(context: BrowserContext, url: str) -> tuple[Page, Seen]:
    page, seen = context.pages[0], Seen()
    seen.watch(page)
    await page.goto(url)
    await expect(page.locator("#link")).to_have_text("live")
    return page, seen


async def check_access(page: Page) -> None:
    """axe finds nothing serious, in either theme, and the page is no wider than the screen."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = await Axe().run(page)
        grave = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
        assert not grave, [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in grave]
    width: int = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]  # type: ignore[index]


async def test_during_the_demo_every_part_is_filled_quiet_and_accessible(tmp_path: Path) -> None:
    async with demo(tmp_path) as url, browser(tmp_path / "browser", viewport=WIDE) as context:
        page, seen = await opened(context, url)
        await expect(page.locator("#alerts tbody tr").first).to_contain_text(
            "InstanceStopped", timeout=20_000
        )
        for name in SECTIONS:
            assert await page.locator(f"#{name} :is(tbody tr, li)").count() > 0, name
        assert await page.locator("#regions svg.course polyline").count() >= 5
        await expect(page.locator("#regions .lead")).to_contain_text("next placement")
        await check_access(page)
        await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        await check_access(page)
        await page.locator("#placements tbody a").first.click()
        await expect(page.locator("#decisions tbody tr").first).to_contain_text("rank 1")
        await check_access(page)
        await page.goto(f"{url}?show=instances&name=PROD-api&status=running")
        await expect(page.locator("#instances tbody tr").first).to_contain_text("prod-api-")
        await check_access(page)
        assert seen.hosts == {url.split("/")[2]}
        assert seen.complaints == []


async def test_without_scripts_the_whole_state_is_there(tmp_path: Path) -> None:
    async with (
        demo(tmp_path) as url,
        browser(tmp_path / "browser", viewport=PHONE, java_script_enabled=False) as context,
    ):
        page = context.pages[0]
        await page.goto(url)
        for name in SECTIONS:
            await expect(page.locator(f"#{name} h2")).to_be_visible()
        await expect(page.locator("#regions tbody tr")).to_have_count(6)
        await expect(page.locator("#link")).to_have_text("renewed every 10 s")
        await page.goto(f"{url}?show=instances")
        await page.locator("select[name=region]").select_option("us-east-1")
        await page.locator("button").click()
        await expect(page.locator("#instances tbody tr td:nth-of-type(2)").first).to_have_text("us-east-1")


class Guarded(DaemonProcess):
    """Lets nobody ask whether it is ready who has no token."""

    async def ready(self, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while await self.status("/-/healthy") != 200:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def watched(folder: Path, read_token: str | None = None) -> AsyncIterator[tuple[Cloud, DaemonProcess]]:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=40, pending_s=0.1, provisioning_s=0.1))
    more: dict[str, object] = {"alerts": {"rules": {"RegionUnhealthy": {"for": "0s"}}}}
    if read_token is not None:
        more["server"] = {"read_token": read_token}
    kind = DaemonProcess if read_token is None else Guarded
    async with EmulatorServer(cloud) as api, kind(folder, api.url, more) as daemon:
        yield cloud, daemon


async def shown_after(page: Page, verdict: str) -> float:
    """Seconds until the page says so."""
    began_at = time.monotonic()
    await expect(page.locator("h1")).to_have_text(verdict, timeout=15_000)
    return time.monotonic() - began_at


async def test_an_incident_is_shown_within_two_seconds_and_the_reader_is_left_where_they_are(
    tmp_path: Path,
) -> None:
    """The better of its beginning and its end counts: the machine may be busy with something else."""
    async with (
        watched(tmp_path) as (cloud, daemon),
        browser(tmp_path / "browser", viewport={"width": 1280, "height": 500}) as context,
    ):
        for placed in [await daemon.place(f"worker-{n}") for n in range(5)]:
            await daemon.placed(placed["id"], "running")
        page, seen = await opened(context, f"{daemon.url}/")
        await expect(page.locator("h1")).to_have_text("All is well")
        await page.locator("#regions tbody a").first.focus()
        await page.evaluate("window.scrollTo(0, 400)")
        where = (
            "[document.activeElement.href, performance.timeOrigin, document.querySelectorAll('h1').length]"
        )
        before = await page.evaluate(where)

        slug = next(iter(cloud.regions()))
        cloud.set_region(slug, status="degraded")
        began_s = await shown_after(page, "1 alert is firing")
        await expect(page.locator("#alerts tbody tr")).to_contain_text(f"{slug} is degraded")
        assert await page.title() == "▲ nexusd"
        assert await page.evaluate(where) == before
        assert await page.evaluate("window.scrollY") > 0
        cloud.set_region(slug, status="healthy")
        ended_s = await shown_after(page, "All is well")

        assert min(began_s, ended_s) < 2.0, (began_s, ended_s)
        assert seen.complaints == []


async def test_opened_details_stay_open_and_what_is_typed_stays_typed(tmp_path: Path) -> None:
    async with (
        watched(tmp_path) as (cloud, daemon),
        browser(tmp_path / "browser", viewport=WIDE) as context,
    ):
        for region in [*cloud.regions()]:
            cloud.set_region(region, status="degraded")
        for instance in [*cloud.instances()][:20]:
            cloud.stop_instance(instance.id)
        page, _ = await opened(context, f"{daemon.url}/")
        await expect(page.locator("#alerts details summary")).to_be_visible(timeout=5_000)
        await page.locator("#alerts details summary").first.click()
        cloud.stop_instance([*cloud.instances()][30].id)
        await expect(page.locator("#instances .bar")).to_be_visible()
        await page.wait_for_timeout(1_000)
        assert await page.locator("#alerts details").first.get_attribute("open") is not None

        await page.goto(f"{daemon.url}/?show=instances")
        await expect(page.locator("#link")).to_have_text("live")
        await page.locator("input[name=name]").fill("half a na")
        first = page.locator("#instances tbody tr").nth(39)
        name = await first.locator("th").inner_text()
        cloud.stop_instance(next(i.id for i in cloud.instances() if i.name == name))
        await expect(first).to_contain_text("stopped", timeout=10_000)
        await expect(page.locator("input[name=name]")).to_have_value("half a na")


async def check_lost(page: Page) -> None:
    """Check that headline, title and colours report the lost connection in 10 s."""
    await expect(page.locator("h1")).to_have_text(LOST, timeout=10_000)
    await expect(page).to_have_title(LOST)
    await expect(page.locator("#link")).to_have_text("connection lost")
    await expect(page.locator("body")).not_to_contain_text("All is well")
    await expect(page.locator("main")).to_have_css("filter", "grayscale(1)")
    assert await page.locator("main .status").evaluate_all(COLOURS) == 1
    await check_access(page)


async def test_a_killed_daemon_leaves_no_claim_and_one_that_is_back_is_followed_again(tmp_path: Path) -> None:
    async with (
        watched(tmp_path) as (_, daemon),
        browser(tmp_path / "browser", viewport=WIDE) as context,
    ):
        page, _ = await opened(context, f"{daemon.url}/")
        await expect(page.locator("h1")).to_have_text("All is well")
        await daemon.kill()
        await check_lost(page)
        await daemon.start()
        await daemon.ready()
        await expect(page.locator("#link")).to_have_text("live", timeout=10_000)
        await expect(page.locator("h1")).to_have_text("All is well")
        await expect(page).to_have_title("nexusd")
        await expect(page.locator("main")).to_have_css("filter", "none")

        await page.goto(f"{daemon.url}/?show=instances")
        await expect(page.locator("#link")).to_have_text("live")
        await daemon.kill()
        await expect(page.locator(".strip")).to_have_text(LOST, timeout=10_000)


async def test_a_connection_that_falls_silent_without_an_end_leaves_no_claim(tmp_path: Path) -> None:
    async with (
        watched(tmp_path) as (_, daemon),
        SilentProxy(daemon.port) as network,
        browser(tmp_path / "browser", viewport=WIDE) as context,
    ):
        page, _ = await opened(context, f"http://127.0.0.1:{network.port}/")
        network.silence()
        await check_lost(page)
        network.restore()
        await expect(page.locator("h1")).to_have_text("All is well", timeout=15_000)


BUFFERING = """server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{daemon};
proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;
gzip on; gzip_types text/event-stream; gzip_min_length 1; gzip_proxied any; }} }}"""


async def test_behind_a_proxy_that_buffers_the_stream_the_page_polls_and_leaves_no_claim(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with (
        watched(tmp_path) as (cloud, daemon),
        proxy("nginx", tmp_path, BUFFERING.format(port=port, daemon=daemon.port), port),
        browser(tmp_path / "browser", viewport=WIDE) as context,
    ):
        page = context.pages[0]
        await page.goto(f"http://127.0.0.1:{port}/")
        await expect(page.locator("#link")).to_have_text("polling (live updates unavailable)", timeout=10_000)
        await expect(page.locator("h1")).to_have_text("All is well")
        cloud.set_region(next(iter(cloud.regions())), status="degraded")
        await expect(page.locator("h1")).to_have_text("1 alert is firing", timeout=15_000)
        await daemon.kill()
        await check_lost(page)


async def test_with_a_read_token_the_browser_asks_for_it_and_the_page_is_live(tmp_path: Path) -> None:
    token = "canary-read-token-42"
    async with watched(tmp_path, token) as (cloud, daemon):
        assert await daemon.status("/") == 401
        known = {"username": "any", "password": token}
        async with browser(tmp_path / "browser", viewport=WIDE, http_credentials=known) as context:
            page, seen = await opened(context, f"{daemon.url}/")
            await expect(page.locator("h1")).to_have_text("All is well")
            cloud.set_region(next(iter(cloud.regions())), status="degraded")
            await expect(page.locator("h1")).to_have_text("1 alert is firing", timeout=10_000)
            assert token not in await page.content()
            assert seen.hosts == {daemon.url.split("/")[2]}
