"""The story as a benchmark: five acts, its report's numbers as figures. `full` takes DeepPCB as well as the line."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.result import Result, conditions


def run(*, full: bool) -> Result:
    """Run `terrace demo --plain` and return its report."""
    rows: list[dict[str, float | str]] = []
    for data in ("line", "deeppcb") if full else ("line",):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "shared.cli", "demo", "--plain", "--data", data, "--report", folder]
            subprocess.run(command, check=True, stdout=sys.stderr)
            rows.append({"data": data, **json.loads((Path(folder) / "report.json").read_text())})
    figures = {key: float(value) for key, value in rows[0].items() if isinstance(value, int | float)}
    return Result(name="story", figures=figures, rows=rows if full else [], conditions=conditions(data="line", regions=2, devices=4))
