"""Draws the curves: accuracy of the whole system over the share of frames the expert answers, one panel per data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.bench.deferrals import rivals
from tests.bench.deferrals.comparison import CURVE_SHARES, MARGIN, MOST, ORACLE, OURS, Comparison

STYLES = {
    OURS: {"color": "#0b6e4f", "linewidth": 2.4},
    MARGIN: {"color": "#0b6e4f", "linewidth": 1.2, "linestyle": ":"},
    rivals.IBT: {"color": "#c05621", "linewidth": 1.4},
    rivals.CROSS_ENTROPY: {"color": "#b83280", "linewidth": 1.4, "linestyle": "--"},
    ORACLE: {"color": "#718096", "linewidth": 1.0, "linestyle": "-."},
}
TITLES = {"deeppcb": "DeepPCB windows", "fashion-mnist": "Fashion-MNIST"}


def draw(path: Path, compared: Sequence[Comparison]) -> None:
    """Write the picture as SVG; the same figures give the same bytes."""
    mpl.rcParams.update({"svg.hashsalt": "terrace", "font.size": 9})
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    panels = figure.subplots(1, len(compared), squeeze=False)[0]
    shares = [100.0 * share for share in CURVE_SHARES]
    for panel, one in zip(panels, compared, strict=True):
        for name, style in STYLES.items():
            values = [100.0 * (one.student + gain) for gain in one.orders[name].curve]
            panel.plot(shares, values, label=name, **style)
        ends = [100.0 * one.student, 100.0 * (one.student + MOST * one.whole[0])]
        panel.plot([0.0, 100.0 * MOST], ends, label="random", color="#a0aec0", linewidth=1.0)
        panel.axhline(100.0 * (one.student + one.whole[0]), color="#cbd5e0", linewidth=0.8)
        panel.set_title(f"{TITLES.get(one.data, one.data)}: student {100.0 * one.student:.1f} %")
        panel.set_xlabel("frames the expert answers, %")
        panel.set_ylabel("accuracy of the system, %")
    panels[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, format="svg", metadata={"Date": None})
