r"""Figures as Prometheus text (exposition format 0.0.4), for daemons that do not carry a Prometheus library. Pure.

A figure says how it is called, what it is and where it stands in a daemon's status; what the status does not hold is left out.

Example:
    >>> print(text("edge", [Figure(name="up", help="1 while it is.", path=("link", "connected"))], {"link": {"connected": True}}), end="")
    # HELP terrace_edge_up 1 while it is.
    # TYPE terrace_edge_up gauge
    terrace_edge_up 1
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One family.

    Attributes:
        name: without `terrace_<tier>_`; a counter's ends in `_total`.
        help: a sentence.
        path: keys of the status, outermost first; a `*` stands for every key of a mapping, which becomes the label's value.
        label: the label's name where the path has a `*`, or ends at a mapping of numbers.
    """

    name: str
    help: str
    path: tuple[str, ...]
    label: str = ""


def text(tier: str, figures: Iterable[Figure], status: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        tier: the middle of every name.
        figures: what is told, in this order.
        status: as the status socket gives it.
    """
    lines: list[str] = []
    for figure in figures:
        name = f"terrace_{tier}_{figure.name}"
        samples = [f"{name}{_labels(figure, label)} {_number(value)}" for label, value in _samples(figure, status)]
        if samples:
            lines += [f"# HELP {name} {figure.help}", f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}", *samples]
    return "\n".join(lines) + "\n"


def _samples(figure: Figure, status: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield label values and numbers, in the order of the status."""
    found: list[tuple[str, Any]] = [("", status)]
    for key in figure.path:
        found = [pair for label, value in found for pair in _step(label, value, key)]
    if figure.label and "*" not in figure.path:
        found = [pair for label, value in found for pair in _step(label, value, "*")]
    for label, value in found:
        if isinstance(value, bool | int | float) and math.isfinite(value):
            yield label, float(value)


def _step(label: str, value: Any, key: str) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return []
    if key == "*":
        return [(str(name), value[name]) for name in sorted(value, key=str)]
    return [(label, value[key])] if key in value else []


def _labels(figure: Figure, value: str) -> str:
    if not figure.label:
        return ""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{figure.label}="{escaped}"}}'


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
