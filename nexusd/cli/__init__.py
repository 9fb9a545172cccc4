"""The `nexusd` command. Each command lives in a module that is imported only when it is used, so that
`nexusd --help` and the clients of a running daemon do not pay for the daemon's parts (performance.md, G8).

Exit codes: 0 done, 1 it failed, 2 usage or configuration error, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import typer

from nexusd.cli.lazy import Entry, LazyGroup
from nexusd.core.errors import ConfigError, NexusdError
from nexusd.core.shortage import describe_shortage

DAEMON, CLIENT = "The daemon", "Ask a running daemon"

COMMANDS = {
    "run": Entry("nexusd.cli.run:run", "Run the daemon.", DAEMON),
    "config": Entry("nexusd.cli.config:app", "Check, show or describe the configuration.", DAEMON),
    "replay": Entry("nexusd.cli.replay:replay", "Replay past placements under another policy.", DAEMON),
    "demo": Entry("nexusd.cli.demo:demo", "Try everything on this machine, without any setup.", DAEMON),
    "emulate": Entry("nexusd.cli.emulate:emulate", "Serve an emulated CloudNexus API.", DAEMON),
    "simulate": Entry(
        "nexusd.cli.simulate:simulate", "Test the placement engine in a simulated cloud.", DAEMON
    ),
    "status": Entry("nexusd.cli.status:status", "Show the state of the daemon and its data.", CLIENT),
    "regions": Entry("nexusd.cli.watching:regions", "List regions, and which can take an instance.", CLIENT),
    "instances": Entry("nexusd.cli.watching:instances", "List instances as last polled.", CLIENT),
    "fleets": Entry("nexusd.cli.watching:fleets", "List fleets, and why each waits.", CLIENT),
    "place": Entry("nexusd.cli.placing:place", "Create an instance in the best region.", CLIENT),
    "placements": Entry("nexusd.cli.placing:placements", "List placements, or show one.", CLIENT),
    "explain": Entry(
        "nexusd.cli.explaining:explain", "Explain where a placement went, or why it waits.", CLIENT
    ),
    "cancel": Entry("nexusd.cli.placing:cancel", "Cancel a queued placement.", CLIENT),
    "resolve": Entry("nexusd.cli.placing:resolve", "Decide a held placement.", CLIENT),
    "alert": Entry("nexusd.cli.alert:app", "Send a test notification.", CLIENT),
    "outbox": Entry("nexusd.cli.outbox:app", "List notifications, and replay dead ones.", CLIENT),
    "alerts": Entry("nexusd.cli.alerts:alerts", "List firing and pending alerts, most severe first.", CLIENT),
    "silence": Entry("nexusd.cli.silence:app", "Create, list and expire silences.", CLIENT),
    "events": Entry("nexusd.cli.events:events", "Show event history, or follow it live.", CLIENT),
    "metrics": Entry("nexusd.cli.watching:metrics", "Print metrics in Prometheus's format.", CLIENT),
}
"""Every command there is, with its line in the help."""


class Commands(LazyGroup):
    """The commands above."""

    entries = COMMANDS


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        from nexusd import __version__

        print(f"nexusd {__version__}")
        raise typer.Exit


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def _nexusd(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Watch a CloudNexus fleet, place instances in the best region, measure and alert."""


def main() -> None:
    """Run the command line and exit."""
    _ready_streams()
    try:
        code = invoke(None)
    finally:
        _discard_unwritable()
    sys.exit(code)


_RESERVE_BYTES = 4 << 20
"""Address space, not memory: given back when there is none, so that the message can be made."""


def invoke(arguments: list[str] | None) -> int:
    """Run one command line (None: that of the process) and return its exit code.

    What a user can fix is one line on stderr and never a traceback.
    """
    reserve = [bytearray(_RESERVE_BYTES)]
    try:
        code: Any = app(arguments, prog_name="nexusd", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough (`nexusd metrics | head`)
        return 0
    except SystemExit as ended:  # what typer makes of a broken pipe
        if isinstance(ended.__context__, BrokenPipeError):
            return 0
        raise
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except NexusdError as error:
        return _failed(error)
    except OSError as error:  # of writing the result, e.g. a full disk: others are caught where they occur
        return _failed(NexusdError(f"{error.filename or 'cannot write'}: {error.strerror or error}"))
    except _UsageError as error:
        return _misused(error)
    except (MemoryError, RuntimeError, ImportError, ExceptionGroup) as error:
        reserve.clear()
        shortage = describe_shortage(error)
        if shortage is None:
            raise
    else:
        return code if isinstance(code, int) else 0
    # Only here is the memory free again that the error's traceback held.
    return _failed(NexusdError(shortage))


_UsageError: Any = typer.BadParameter.__mro__[1]
"""Typer's base of usage errors, which some of its versions do not export."""


def _ready_streams() -> None:
    """Discard output to closed streams, and escape characters that the encoding lacks."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - open until the end
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - open until the end
        else:
            stream.reconfigure(errors="backslashreplace")


def _discard_unwritable() -> None:
    """Discard buffered output that cannot be written: Python would fail on it again, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _failed(error: NexusdError) -> int:
    from nexusd.cli.output import printable

    with suppress(OSError):  # a full disk behind stderr: the exit code remains
        for line in str(error).splitlines() or [type(error).__name__]:
            print(f"nexusd: {printable(line)}", file=sys.stderr)
    return 2 if isinstance(error, ConfigError) else 1


def _misused(error: Any) -> int:
    from nexusd.cli.output import printable

    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), end="")  # the help; empty when typer has printed it, as with rich
        return 2
    command = error.ctx.command_path if error.ctx is not None else "nexusd"
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    with suppress(OSError):
        print(f"nexusd: {printable(message)} (see '{command} --help')", file=sys.stderr)
    return 2
