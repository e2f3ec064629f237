"""What every benchmark returns, and how it is printed."""

from __future__ import annotations

import os
import platform

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark's outcome: flat figures (numbers only), the rows behind them, and the conditions they were taken under."""

    name: str
    figures: dict[str, float]
    rows: list[dict[str, float | str]] = []
    conditions: dict[str, str | float] = {}


def conditions(**more: str | float) -> dict[str, str | float]:
    """Return what a reader needs to judge a figure: machine, cores, load, Python; and `more`."""
    return {
        "machine": platform.machine(),
        "cores": float(os.cpu_count() or 0),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **more,
    }


def table(result: Result) -> str:
    """Return the result as text: rows first, figures last."""
    lines = [f"# {result.name}  ({', '.join(f'{key} {value}' for key, value in result.conditions.items())})"]
    if result.rows:
        columns = list(result.rows[0])
        cells = [columns, *[[_cell(row.get(column, "")) for column in columns] for row in result.rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines += [f"{key:44} {_cell(value)}" for key, value in result.figures.items()]
    return "\n".join(lines)


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
