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
    live: Annotated[bool, typer.Option("--live", help="Also ask CloudNexus for its regions.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Read the configuration as the daemon would, and say whether it could run with it."""
    from nexusd.settings import load_with_origins, warnings

    loaded = load_with_origins(config)
    _check_parts(loaded.settings)
    found = warnings(loaded.settings)
    answer: dict[str, Any] = {
        "ok": True,
        "file": str(loaded.file) if loaded.file else None,
        "warnings": found,
    }
    if output is Output.TABLE:
        for warning in found:
            note(f"warning: {warning}")
        source = printable(str(loaded.file)) if loaded.file else "the environment (no file)"
        print(f"OK: {source}" + (f", {len(found)} warning{'s'[: len(found) > 1]}" if found else ""))
    if live:
        answer["regions"] = _regions(loaded.settings)
        if output is Output.TABLE:
            print(f"OK: {loaded.settings.cloudnexus.base_url} answered with {answer['regions']} regions")
    if output is Output.JSON:
        print_json(answer)


def _check_parts(settings: Any) -> None:
    """What only the parts themselves can judge: addresses, secrets, certificates, drivers, extras."""
    from nexusd.delivery.deliveries import check as check_deliveries
    from nexusd.runtime.clock import SystemClock
    from nexusd.settings.parts import web_options
    from nexusd.settings.receiving import delivery_options
    from nexusd.store.opening import StoreOptions, database_for
    from nexusd.web.tls import tls_context

    check_deliveries(delivery_options(settings), SystemClock())
    database_for(StoreOptions(settings.store.url.get_secret_value(), "nobody"))
    tls = web_options(settings).tls
    if tls is not None:
        tls_context(tls)


def _regions(settings: Any) -> int:
    from nexusd.cli.live import count_regions

    try:
        return count_regions(settings)
    except ApiError as error:
        raise LiveCheckError(f"{settings.cloudnexus.base_url}: {printable(str(error))}") from error


@app.command()
def show(config: ConfigFile = None, output: Format = Output.TABLE) -> None:
    """Print what is in effect, as YAML: secrets masked, and where each value that is no default was given."""
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
    from nexusd.settings.showing import json_schema

    print(json.dumps(json_schema(), indent=2))
