"""`nexusd config`: check, show and describe the configuration."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from nexusd.cli.options import ConfigFile, Format, Output
from nexusd.cli.output import note, print_json, printable
from nexusd.core.errors import ApiError, NexusdError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Check, show or describe the configuration."
)


class LiveCheckError(NexusdError):
    """The configuration is right, but CloudNexus gave no usable answer with it."""


@app.command()
def check(
    config: ConfigFile = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also check the key and region names with CloudNexus.")
    ] = False,
    output: Format = Output.TABLE,
) -> None:
    """Check the configuration as the daemon reads it.

    The exit code is 2 if the daemon would refuse it.
    """
    from nexusd.settings import load_with_origins, warnings

    loaded = load_with_origins(config)
    _check_parts(loaded.settings)
    found = warnings(loaded.settings)
    regions: list[str] | None = None
    if live:
        regions, unlisted = _check_live(loaded.settings)
        found = [*found, *unlisted]
    if output is Output.JSON:
        counted = {"regions": len(regions)} if regions is not None else {}
        file = str(loaded.file) if loaded.file else None
        print_json({"ok": True, "file": file, "warnings": found, **counted})
        return
    for warning in found:
        note(f"warning: {warning}")
    source = printable(str(loaded.file)) if loaded.file else "the environment (no file)"
    print(f"OK: {source}" + (f", {len(found)} warning{'s'[: len(found) > 1]}" if found else ""))
    if regions is not None:
        print(f"OK: {loaded.settings.cloudnexus.base_url} answered with {len(regions)} regions")


def _check_parts(settings: Any) -> None:
    """Check addresses, secrets, certificates, drivers and extras."""
    from nexusd.cloud.http import Tls
    from nexusd.delivery.deliveries import check as check_deliveries
    from nexusd.runtime.clock import SystemClock
    from nexusd.settings.parts import web_options
    from nexusd.settings.receiving import delivery_options
    from nexusd.store.opening import StoreOptions, database_for
    from nexusd.web.tls import tls_context

    Tls(settings.cloudnexus.ca_file)
    check_deliveries(delivery_options(settings), SystemClock())
    database_for(StoreOptions(settings.store.url.get_secret_value(), "nobody"))
    tls = web_options(settings).tls
    if tls is not None:
        tls_context(tls)


def _check_live(settings: Any) -> tuple[list[str], list[str]]:
    """Return the listed regions, and warnings about region names in fleets and routes."""
    from nexusd.cli.live import list_regions, region_warnings

    try:
        listed = list_regions(settings)
    except ApiError as error:
        raise LiveCheckError(f"{settings.cloudnexus.base_url}: {printable(str(error))}") from error
    return listed, region_warnings(settings, listed)


@app.command()
def show(config: ConfigFile = None, output: Format = Output.TABLE) -> None:
    """Print the effective configuration, with the source of each non-default value.

    Secrets are masked.
    """
    from nexusd.settings import load_with_origins
    from nexusd.settings.showing import as_plain, as_yaml

    loaded = load_with_origins(config)
    if output is Output.JSON:
        print_json(as_plain(loaded.settings))
    else:
        print(as_yaml(loaded), end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from nexusd.settings.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
