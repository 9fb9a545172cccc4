"""Entry point of the `nexusd` command and of `python -m nexusd`."""

from nexusd.cli import main

if __name__ == "__main__":
    main()
