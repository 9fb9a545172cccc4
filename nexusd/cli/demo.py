"""`nexusd demo`: an emulated CloudNexus, the daemon, and a webhook receiver, with a few incidents played."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Address of the daemon; port 0 is any free one.")
    ] = "127.0.0.1:9650",
    duration: Annotated[
        str | None,
        typer.Option(metavar="DURATION", show_default=False, help="Stop after this time; else at Ctrl-C."),
    ] = None,
) -> None:
    """Try nexusd without an account.

    Everything runs on loopback, with a database in a temporary folder.

    The demo prints each step and the URL to open. Press Ctrl-C to stop it.
    """
    import asyncio

    from nexusd.cli.demo_stage import play
    from nexusd.core.durations import parse_duration
    from nexusd.core.errors import ConfigError

    try:
        ends_after_s = parse_duration(duration) if duration is not None else None
    except ValueError as error:
        raise ConfigError(f"--duration {duration!r} is not {error}") from error
    asyncio.run(play(listen, ends_after_s))
