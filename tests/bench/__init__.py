"""Benchmarks: `make bench NAME=x`, or `python -m tests.bench x --json`. One file each, with `run(full) -> Result`."""
