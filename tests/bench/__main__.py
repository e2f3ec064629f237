"""Run one benchmark and print a table, or with --json one JSON object and nothing else on standard output."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
from pathlib import Path

import msgspec

from shared.errors import TerraceError
from tests.bench.result import Result, table

OWN = {"__init__", "__main__", "result"}


def names() -> list[str]:
    """Return the benchmarks there are, as they are typed: `link_faults.py` is `link-faults`."""
    return sorted(path.stem.replace("_", "-") for path in Path(__file__).parent.glob("*.py") if path.stem not in OWN)


def typed(name: str) -> str:
    """Return the name with dashes, as `names` has it; underscores do as well."""
    return name.replace("_", "-")


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", type=typed, choices=names(), help="the benchmark")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--full", action="store_true", default=bool(os.environ.get("FULL")), help="the longer run (also FULL=1)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that namespaces, mounts and folders go with us
    module = importlib.import_module(f"tests.bench.{given.name.replace('-', '_')}")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result: Result = module.run(full=given.full)
    except TerraceError as error:
        sys.stderr.write(f"terrace: {error}\n")
        return error.exit_code
    sys.stdout.write((msgspec.json.encode(result).decode() if given.json else table(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
