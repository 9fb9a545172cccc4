"""`nexusd demo`: an emulated CloudNexus, the daemon, and a webhook receiver, with a few incidents played."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Where the daemon serves; port 0 takes a free one.")
    ] = "127.0.0.1:9650",
    duration: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="End after so long (30s, 5m); else at Ctrl-C."),
    ] = None,
) -> None:
    """Try nexusd without an account: everything runs on loopback, with a database in a temporary folder.

    It prints what happens as it happens, and where to look. Ctrl-C ends it.
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
