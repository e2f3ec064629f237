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
    for block in _blocks(result.rows):
        columns = list(block[0])
        cells = [columns, *[[_cell(row.get(column, "")) for column in columns] for row in block]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines += [f"{key:44} {_cell(value)}" for key, value in result.figures.items()]
    return "\n".join(lines)


def _blocks(rows: list[dict[str, float | str]]) -> list[list[dict[str, float | str]]]:
    """Return the rows in blocks: one that has a column the block's first row lacks begins another."""
    blocks: list[list[dict[str, float | str]]] = []
    for row in rows:
        if blocks and row.keys() <= blocks[-1][0].keys():
            blocks[-1].append(row)
        else:
            blocks.append([row])
    return blocks


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
