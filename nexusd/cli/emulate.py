"""`nexusd emulate`: an emulated CloudNexus on its own, to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexusd.core.errors import ConfigError

if TYPE_CHECKING:
    from nexusd.emulator.cloud import Cloud
    from nexusd.emulator.faults import Fault
    from nexusd.emulator.options import EmulatorOptions

_PREBUILT_FROM = 10_000  # instances; below, the first sweep is quick enough without


def emulate(
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Where to serve; port 0 takes a free one.")
    ] = "127.0.0.1:9660",
    api_key: Annotated[
        str, typer.Option(envvar="CN_API_KEY", metavar="KEY", help="The bearer key to accept.")
    ] = "demo-key",
    instances: Annotated[int, typer.Option(min=0, max=10_000_000, help="How many exist at the start.")] = 50,
    seed: Annotated[int, typer.Option(help="The same seed and requests give the same answers.")] = 1,
    scenario: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Faults to play (docs/emulator.md)."),
    ] = None,
    boot_time: Annotated[
        str, typer.Option(metavar="TIME", help="From created to running; a quarter of it pending.")
    ] = "8s",
    list_lag: Annotated[
        str, typer.Option(metavar="TIME", help="How long a created instance is not yet listed.")
    ] = "0",
    page_cap: Annotated[int, typer.Option(min=1, max=100, help="The most instances a page holds.")] = 100,
    jitter: Annotated[
        float, typer.Option(min=0, metavar="MS", help="How far regions' latencies wander; 0: not at all.")
    ] = 2.0,
) -> None:
    """Serve an emulated CloudNexus API until it is told to stop (Ctrl-C, SIGTERM).

    It behaves as the API reference says: bearer key, pages, validation, instances that boot. What goes wrong
    is for the scenario file to say.
    """
    import asyncio

    from nexusd.emulator.options import EmulatorOptions
    from nexusd.emulator.scenario import load_scenario

    host, port = _address(listen)
    boot_s = _duration("--boot-time", boot_time)
    lag_s = _duration("--list-lag", list_lag)
    try:
        options = EmulatorOptions(
            seed=seed,
            api_key=api_key,
            instances=instances,
            pending_s=boot_s / 4,
            provisioning_s=boot_s * 3 / 4,
            list_lag_s=lag_s,
            page_cap=page_cap,
            latency_jitter_ms=jitter,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    faults = load_scenario(scenario) if scenario is not None else ()
    asyncio.run(_serve(options, faults, host, port))


async def _serve(options: EmulatorOptions, faults: tuple[Fault, ...], host: str, port: int) -> None:
    import asyncio
    import signal

    from nexusd.emulator.cloud import Cloud
    from nexusd.emulator.server import EmulatorServer

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cloud = Cloud(options)
    async with EmulatorServer(cloud, host=host, port=port) as server:
        if options.instances >= _PREBUILT_FROM:
            cloud.prebuild()
        cloud.add_faults(faults)
        _announce(cloud, server.url, len(faults))
        await stop.wait()


def _announce(cloud: Cloud, url: str, faults: int) -> None:
    """Where it is, and how to point nexusd and curl at it. The key is shown only when it is no secret."""
    from nexusd.emulator.options import DEMO_API_KEY

    options = cloud.options
    key = DEMO_API_KEY if cloud.api_key == DEMO_API_KEY else "$CN_API_KEY"
    print(f"emulated CloudNexus: {url}")
    print(
        f"  {options.instances} instances in {len(options.regions)} regions, "
        f"seed {options.seed}, {faults} fault{'' if faults == 1 else 's'}"
    )
    print(f'  try:    curl -H "Authorization: Bearer {key}" "{url}/instances?limit=2"')
    print(f"  nexusd: NEXUSD_CLOUDNEXUS__BASE_URL={url} CN_API_KEY={key} nexusd run", flush=True)


def _duration(option: str, text: str) -> float:
    from nexusd.core.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r} is not {error}") from error


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigError(f"--listen {listen!r} is not ADDRESS:PORT, such as 127.0.0.1:9660")
    return host, int(port)
