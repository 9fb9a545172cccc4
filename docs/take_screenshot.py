"""Takes the picture of the status page that the README shows, from a demo: `python docs/take_screenshot.py`.

Needs the development environment and a Chromium; `CHROMIUM` says where it is, if not at /usr/bin/chromium.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name("status-page.png")
AFTER_S = 29.0
"""All incidents have been played and none is over yet (`cli.demo_story`)."""
SIZE = {"width": 1180, "height": 1000}


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    demo = subprocess.Popen([sys.executable, "-m", "nexusd", "demo", "--listen", address])  # noqa: S603
    try:
        take(f"http://{address}/")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait()
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")  # noqa: T201


def take(url: str) -> None:
    program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder,
            executable_path=program,
            args=["--headless", "--no-sandbox", "--disable-gpu"],
            viewport=SIZE,  # type: ignore[arg-type]
        )
        time.sleep(AFTER_S)
        page = context.pages[0]
        page.goto(url)
        page.wait_for_selector('[data-link="live"]')
        page.screenshot(path=PICTURE)
        context.close()


if __name__ == "__main__":
    main()
