"""Draws the curves: accuracy of the whole system over the share of frames the expert answers, one panel per data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.deferrals import rivals
from tests.bench.deferrals.comparison import CLOSED, CURVE_SHARES, LOOKED, MARGIN, MOST, ORACLE, OURS, Comparison

STYLES = {
    OURS: {"color": "#0b6e4f", "linewidth": 2.4},
    MARGIN: {"color": "#0b6e4f", "linewidth": 1.2, "linestyle": ":"},
    rivals.IBT: {"color": "#c05621", "linewidth": 1.4},
    rivals.CROSS_ENTROPY: {"color": "#b83280", "linewidth": 1.4, "linestyle": "--"},
    f"{rivals.IBT}{LOOKED}": {"color": "#dd9b6a", "linewidth": 1.2, "linestyle": (0, (4, 2, 1, 2))},
    ORACLE: {"color": "#4a5568", "linewidth": 1.0, "linestyle": "-."},
}
NAMES = {OURS: "terrace (the card's score and second look)", MARGIN: "margin, no second look"}
TITLES = {"deeppcb": "DeepPCB windows", "fashion-mnist": "Fashion-MNIST"}
WIDEST = 40.0
"""Per cent of frames; beyond it the curves lie on each other."""


def draw(path: Path, compared: Sequence[Comparison]) -> None:
    """Write the picture as SVG; the same figures give the same bytes."""
    mpl.rcParams.update({"svg.hashsalt": "terrace", "font.size": 9})
    figure = Figure(figsize=(9.0, 4.4), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(compared), squeeze=False)[0]
    for panel, one in zip(panels, compared, strict=True):
        _curves(panel, one)
        _levels(panel, one)
        panel.set_title(TITLES.get(one.data, one.data))
        panel.set_xlabel("frames the expert answers, %")
        panel.set_ylabel("accuracy of the whole system, %")
        panel.set_xlim(0.0, WIDEST)
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _curves(panel: Axes, one: Comparison) -> None:
    shares = [100.0 * share for share in CURVE_SHARES]
    drawn = {name: style for name, style in STYLES.items() if name in one.orders}
    for place, (name, style) in enumerate(drawn.items()):
        values = [100.0 * (one.student + gain) for gain in one.orders[name].curve]
        panel.plot(shares, values, label=NAMES.get(name, name), zorder=9 - place, **style)
    ends = [100.0 * one.student, 100.0 * (one.student + MOST * one.whole[0])]
    panel.plot([0.0, 100.0 * MOST], ends, label="random", color="#a0aec0", linewidth=1.0)


def _levels(panel: Axes, one: Comparison) -> None:
    """Draw what the student and the expert reach alone, and the way between them that the figures are about."""
    for share, name in ((0.0, "student alone"), (CLOSED, f"{CLOSED:.0%} of the way"), (1.0, "expert alone")):
        level = 100.0 * (one.student + share * one.whole[0])
        panel.axhline(level, color="#cbd5e0", linewidth=0.8, zorder=1)
        panel.annotate(name, (WIDEST, level), (-3, -2), textcoords="offset points", ha="right", va="top", color="#4a5568", fontsize=8)
