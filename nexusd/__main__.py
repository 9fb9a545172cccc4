"""Entry point of the `nexusd` command and of `python -m nexusd`."""

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit.

    Ctrl-C while Python still imports ends the process as Ctrl-C does, without a traceback.
    """
    _open_standard_streams()
    if sys.argv[1:2] == ["run"]:
        from nexusd.runtime import early_signals

        early_signals.install()
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nexusd import cli

    signal.signal(signal.SIGINT, usual)
    cli.main()


def _open_standard_streams() -> None:
    """Open descriptors 0 to 2 where they are closed.

    A socket or file would get their numbers otherwise; the event loop of libuv aborts when it closes one.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(opened, True)  # noqa: FBT003 - takes no keyword


if __name__ == "__main__":
    main()
