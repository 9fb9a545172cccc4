"""`python -m tests.replicas`: print the report as JSON.

The exit code is 1 if a promise did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.replicas.run import run, run_in_temporary_folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.replicas", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder for the logs of the replicas")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True)
        report = asyncio.run(run(options.minutes, options.seed, options.keep))
    else:
        report = asyncio.run(run_in_temporary_folder(options.minutes, options.seed))
    print(report.to_json())
    breaches = list(report.breaches())
    for breach in breaches:
        print(f"breach: {breach}", file=sys.stderr)
    sys.exit(1 if breaches else 0)


if __name__ == "__main__":
    main()
