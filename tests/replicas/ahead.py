"""Run nexusd with a wall clock that is ahead.

Usage: `python -m tests.replicas.ahead SECONDS run --config FILE`.

Only `time.time` is replaced, which is where nexusd reads the wall clock. libfaketime intercepts every clock
call of the process: `/metrics` took ten times as long under it.
"""

from __future__ import annotations

import sys
import time


def main() -> None:
    ahead_s = float(sys.argv.pop(1))
    wall_clock = time.time
    time.time = lambda: wall_clock() + ahead_s
    from nexusd.__main__ import main as nexusd

    nexusd()


if __name__ == "__main__":
    main()
