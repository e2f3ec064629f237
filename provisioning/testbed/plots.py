"""A picture per act, drawn with matplotlib without a display. Not here: the numbers; every plot draws what report and events hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from provisioning.testbed import timeline
from provisioning.testbed.figures import BadReleaseFigures, CascadeFigures, FederationFigures, Figures, LedgerFigures
from provisioning.testbed.intervals import Estimate
from provisioning.testbed.timeline import Mark, Moment

SIZE_INCHES, DPI = (9.0, 3.6), 110
EDGE, REGION, GOOD, BAD, GREY = "#2563a8", "#c2571a", "#2e7d4f", "#b3261e", "#6b7280"


class Scene:
    """What happened, for the plots of all acts.

    Args:
        moments: every look at the daemons.
        marks: what was done when.
        regions: devices by region.
    """

    def __init__(self, moments: Sequence[Moment], marks: Sequence[Mark], regions: Mapping[str, Sequence[str]]) -> None:
        self.moments = moments
        self.marks = marks
        self.regions = regions
        self.start = moments[0].at if moments else 0.0

    def between(self, first: str, last: str, *, margin_s: float = 5.0) -> list[Moment]:
        """Return the moments from one mark to another, and a little more; all where a mark is missing."""
        at = {mark.what: mark.at for mark in self.marks}
        low, high = at.get(first, self.start) - margin_s, at.get(last, float("inf")) + margin_s
        return [moment for moment in self.moments if low <= moment.at <= high]


def draw(told: Mapping[int, Figures], scene: Scene, folder: Path) -> dict[int, Path]:
    """Draw a PNG for each act that was played and return their paths by act."""
    drawn = {}
    for act, figures in told.items():
        figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
        PAINTERS[act](figure, figures, scene)
        drawn[act] = folder / f"act-{act}.png"
        figure.savefig(drawn[act])
    return drawn


def _cascade(figure: Figure, found: Figures, _: Scene) -> None:
    assert isinstance(found, CascadeFigures)  # noqa: S101 - the table below pairs them
    left, right = figure.subplots(1, 2)
    rows = (("edge only", found.edge, EDGE), ("with the region", found.system, GOOD), ("expert, every frame", found.expert, GREY))
    _bars(left, rows)
    left.set_title("accuracy on the same frames (95 %, over units)")
    names = ("sent", "every frame,\nsame codec", "H.264 stream")
    bars = right.barh(names, [found.sent_bytes, found.same_codec_bytes, found.h264_bytes], color=[GOOD, GREY, GREY])
    right.bar_label(bars, fmt="{:,.0f} B", padding=3)
    right.invert_yaxis()
    right.margins(x=0.2)
    right.set_title("bytes per frame")


def _never_lost(figure: Figure, _: Figures, scene: Scene) -> None:
    axes = figure.subplots()
    moments = scene.between("link cut", "device killed")
    devices = next(iter(scene.regions.values()), ())
    waiting = timeline.spool(moments, devices)
    axes.plot([at - scene.start for at, _ in waiting], [count for _, count in waiting], color=REGION, label="cases waiting on devices")
    axes.set_ylabel("cases waiting", color=REGION)
    answered = axes.twinx()
    rows = timeline.answered(moments, devices)
    answered.plot([at - scene.start for at, _ in rows], [count for _, count in rows], color=EDGE, label="frames answered locally")
    answered.set_ylabel("frames answered so far", color=EDGE)
    _mark(axes, scene, moments)
    axes.set_title("the link is cut: local answers go on, the spool climbs and drains")


def _federation(figure: Figure, found: Figures, scene: Scene) -> None:
    assert isinstance(found, FederationFigures)  # noqa: S101 - the table below pairs them
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for (region, _), colour in zip(scene.regions.items(), (REGION, EDGE), strict=False):
        seen = [(moment.at - scene.start, moment.regions[region].disagreement) for moment in scene.moments if region in moment.regions]
        left.plot([at for at, _ in seen], [100 * share for _, share in seen], color=colour)
        if seen:
            left.text(seen[-1][0], 100 * seen[-1][1], f" {region}", color=colour, va="center", clip_on=False)
    left.set_ylabel("student and expert disagree, %")
    left.set_title("live, on the newest audit samples")
    _mark(left, scene, scene.between("drift at region-1", "drift at region-2"))
    got = found.learned
    rows = (
        ("A before the drift", got.before_clean, GREY),
        ("A under the drift", got.before_drifted, BAD),
        ("A with its round", got.after_drifted, GOOD),
        ("B, its own control", got.b_control, BAD),
        ("B with A's round", got.b_after, GOOD),
    )
    _bars(right, rows)
    right.set_title("INT8 releases on the same pictures")


def _bad_release(figure: Figure, found: Figures, scene: Scene) -> None:
    assert isinstance(found, BadReleaseFigures)  # noqa: S101 - the table below pairs them
    axes = figure.subplots()
    moments = scene.between("signed", "off every device")
    devices = [device for owned in scene.regions.values() for device in owned]
    newest = max((seen.release for moment in moments for seen in moment.devices.values()), default=0)
    for row, device in enumerate(devices):
        for now, later in pairwise(moments):
            if device in now.devices:
                colour = BAD if now.devices[device].release == newest else EDGE
                axes.barh(row, later.at - now.at, left=now.at - scene.start, color=colour, height=0.5)
    axes.set_yticks(range(len(devices)), devices)
    axes.set_ylim(len(devices) - 0.3, -1.6)
    _mark(axes, scene, moments)
    axes.set_title(f"the bad release (red) reached {found.exposed} of {found.devices} devices")


def _ledger(figure: Figure, found: Figures, _: Scene) -> None:
    assert isinstance(found, LedgerFigures)  # noqa: S101 - the table below pairs them
    axes = figure.subplots()
    names = ("spooled on devices", "stored in regions", "answered", "waiting", "evicted", "lost", "doubled", "pictures moved")
    values = (
        found.spooled, found.stored, found.answered, found.waiting, found.evicted, found.lost, found.doubled, found.pictures
    )  # fmt: skip
    bars = axes.barh(names, values, color=[EDGE, REGION, GOOD, GREY, GREY, BAD, BAD, BAD])
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_title(f"cases, counted from the files; {found.frames:,} frames answered")


PAINTERS: dict[int, Callable[[Figure, Figures, Scene], None]] = {
    1: _cascade,
    2: _never_lost,
    3: _federation,
    4: _bad_release,
    5: _ledger,
}


def _bars(axes: Axes, rows: Sequence[tuple[str, Estimate, str]]) -> None:
    """Draw accuracies in per cent with their intervals; the axis begins below the lowest."""
    values = [100 * one.value for _, one, _ in rows]
    errors = [[100 * (one.value - one.low) for _, one, _ in rows], [100 * (one.high - one.value) for _, one, _ in rows]]
    bars = axes.barh([name for name, _, _ in rows], values, xerr=errors, color=[colour for *_, colour in rows], capsize=3)
    axes.bar_label(bars, fmt="{:.1f} %", padding=6)
    lowest = min(100 * one.low for _, one, _ in rows)
    axes.set_xlim(max(0.0, lowest - 0.3 * (100 - lowest) - 1), 100 + 0.25 * (100 - lowest) + 1)
    axes.set_xticks([tick for tick in axes.get_xticks() if lowest - 0.5 * (100 - lowest) - 1 < tick <= 100])
    axes.invert_yaxis()


def _mark(axes: Axes, scene: Scene, moments: Sequence[Moment]) -> None:
    """Write what was done when along the time axis."""
    axes.set_xlabel("seconds since the fleet started")
    if not moments:
        return
    axes.set_xlim(moments[0].at - scene.start, moments[-1].at - scene.start)
    for mark in scene.marks:
        if moments[0].at <= mark.at <= moments[-1].at:
            axes.axvline(mark.at - scene.start, color=GREY, linewidth=0.8, linestyle="--")
            axes.text(mark.at - scene.start, axes.get_ylim()[1], f" {mark.what}", rotation=90, va="top", ha="right", fontsize="x-small")
