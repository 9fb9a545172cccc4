"""Debian's Chromium, driven by Playwright, with what a page must not do written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.requirements import need_program

try:
    from axe_playwright_python.async_playwright import Axe
    from playwright.async_api import (
        BrowserContext,
        ConsoleMessage,
        Error,
        Page,
        Request,
        async_playwright,
        expect,
    )
except ModuleNotFoundError:  # a user's test environment is without them: `need(Axe, …)` says so
    Axe = BrowserContext = ConsoleMessage = Error = Page = Request = async_playwright = expect = None

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Seen:
    """What a page asked for and complained about."""

    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", self._asked)
        page.on("console", self._said)
        page.on("pageerror", self._failed)

    def _asked(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).netloc)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _failed(self, error: Error) -> None:
        self.complaints.append(str(error))


@asynccontextmanager
async def browser(folder: Path, **options: Any) -> AsyncIterator[BrowserContext]:
    """A browser of its own, with its data in `folder`."""
    program = need_program("chromium")
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder, executable_path=program, args=list(ARGUMENTS), **options
        )
        try:
            yield context
        finally:
            await context.close()
