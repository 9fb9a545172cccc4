"""Entry point of the `nexusd` command and of `python -m nexusd`."""

import signal


def main() -> None:
    """Run the command line and exit. Ctrl-C while Python still imports ends the process as Ctrl-C does, and
    not with a traceback of whatever was being imported.
    """
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nexusd import cli

    signal.signal(signal.SIGINT, usual)
    cli.main()


if __name__ == "__main__":
    main()
