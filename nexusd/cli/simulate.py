"""`nexusd simulate`: the placement engine in virtual time, where everything goes wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexusd.cli.options import Format, Output
from nexusd.cli.output import note, print_fields, print_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexusd.simulator.options import SimulationOptions
    from nexusd.simulator.simulation import Progress, Result

RAM_DISK = "/dev/shm"  # noqa: S108 - a folder of one's own is made in it
SHORTEST_DAYS, LONGEST_DAYS = 0.001, 365.0


def simulate(
    seed: Annotated[int, typer.Option(help="Every choice comes from it: the same seed, the same run.")] = 1,
    days: Annotated[
        float, typer.Option(min=SHORTEST_DAYS, max=LONGEST_DAYS, help="Virtual days to simulate.")
    ] = 1.0,
    faults: Annotated[
        str, typer.Option(metavar="LIST", help="What goes wrong, joined by commas; all or none.")
    ] = "all",
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="A broken engine, to see that the simulator can fail."
        ),
    ] = None,
    output: Format = Output.TABLE,
) -> int:
    """Run the placement engine in virtual time against a hostile cloud, and check what must never happen.

    The engine, its store and its clock's arithmetic are the daemon's own; the cloud is simulated. Exits with
    1 and the story of the placement when an invariant breaks (docs/simulator.md).
    """
    import tempfile
    from pathlib import Path

    ram_disk = RAM_DISK if Path(RAM_DISK).is_dir() else None
    options = _options(seed, days, faults, variant)
    with tempfile.TemporaryDirectory(prefix="nexusd-simulate-", dir=ram_disk) as folder:
        result = _run(options, Path(folder))
    if output is Output.JSON:
        print_json(_document(result))
    else:
        _print(result)
    return 0 if result.breach is None else 1


def _options(seed: int, days: float, faults: str, variant: str | None) -> SimulationOptions:
    """Raises `ConfigError`."""
    from nexusd.core.errors import ConfigError, InputError
    from nexusd.simulator.options import SimulationOptions, joined, parse_faults
    from nexusd.simulator.variants import VARIANTS

    if variant is not None and variant not in VARIANTS:
        raise ConfigError(f"--variant {variant!r} does not exist: use one of {joined(VARIANTS)}")
    try:
        return SimulationOptions(seed, days, parse_faults(faults), variant)
    except InputError as error:
        raise ConfigError(f"--faults: {error}") from error


def _run(options: SimulationOptions, folder: Path) -> Result:
    from nexusd.simulator.simulation import simulate as run

    result = run(options, folder, _progress())
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return result


def _progress() -> Callable[[Progress], None]:
    """One line that is written over, on a terminal only."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(at: Progress) -> None:
        line = f"{at.share:4.0%}  {at.placements:,} placements, {at.kills:,} kills"
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    return show


def _document(result: Result) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(result), "ok": result.breach is None}


def _print(result: Result) -> None:
    breach = result.breach
    kills = sum(result.kills.values())
    print_fields(
        [
            ("seed", result.seed),
            ("virtual time", f"{result.virtual_s / 86400:.2f} days in {result.real_s:.1f} s"),
            ("placements", f"{result.placements:,}: {_counted(result.ended)}"),
            ("kills", f"{kills:,}: {_counted(result.kills)}"),
            ("counts", _counted(result.counts)),
            ("events", f"{result.events:,}"),
            ("trace", f"sha256:{result.hash}"),
            ("violations", 0 if breach is None else 1),
        ]
    )
    if breach is not None:
        print(f"\n{breach.invariant}: {breach.what}\n")
        print("\n".join(breach.story))
        note(f"nexusd: an invariant is broken with --seed {result.seed}: {breach.invariant}: {breach.what}")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
