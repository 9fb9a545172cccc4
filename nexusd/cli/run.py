"""`nexusd run`: the daemon itself."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from nexusd.cli.options import ConfigFile


def run(
    config: ConfigFile = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", show_default=False, help="Where to serve (server.listen)."),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", show_default=False, help="debug, info, warning or error (log.level)."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", show_default=False, help="The database (store.url).")
    ] = None,
) -> None:
    """Run the daemon until it is told to stop (SIGTERM, SIGINT). SIGHUP reads the configuration again."""
    gc.disable()  # modules are no garbage: looking for it among them would be a tenth of the start
    from nexusd.app import run as run_daemon

    gc.freeze()
    gc.enable()
    given = {"server.listen": listen, "log.level": log_level, "store.url": store}
    run_daemon(config, {key: value for key, value in given.items() if value is not None})
