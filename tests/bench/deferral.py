"""Deferral on real data: what our order of frames saves over the rivals', whether its promise holds, also after a shift, and what is sent.

DeepPCB's windows and Fashion-MNIST (`TERRACE_DATA`), three students each, INT8, beside one expert; trained once into TERRACE_CACHE (about
half an hour on two free cores; a killed run goes on at the model it was at). Ours (`terrace`) is what the card would say: a second look at
doubtful frames where policy-fit shows that it pays, and margin or a learned score as the order, the latter where it was better on units
held out. `margin` and `learned` are the same without a second look; the rivals are shown with one too. All are judged on the data set's
official test list, which nothing was chosen on; its bootstrap draws whole boards (Fashion-MNIST: pictures) and students. Every gain
counts from the student's first answers.

`forwards_saved_vs_best_sedna_rule`: forwards not needed for 80 % of the way from student to expert, mean of both data sets;
`forwards_saved_same_answers` where the rivals look twice as well. `share_of_oracle_gain_at_10pct`: DeepPCB's. `guarantee_violations`: the
most of both data sets, at epsilon 0.02 and delta 0.05, of the calibrations that promised anything; `guarantee_promising` is the least share
that did. Live threshold and drift alarm: deferrals.shifts; their figures are the worse of both real shifts.
`uplink_ratio_vs_all_frames_same_codec` and `system_minus_expert`: DeepPCB's, audit share included (deferrals.uplink, deferrals.sending);
`uplink_ratio_vs_h264_stream`: deferrals.videos.
DRAW=FOLDER also draws the curves (`deferral.svg`). SETS and STUDENTS (`SETS=deeppcb STUDENTS=1,2`) measure a part of it, for whoever has
no time to train the rest: the figures then say so by `students` and by what is missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import calibrate, deferral
from cloud.foundry.ranking import Numbers
from provisioning.datasets import data_folder
from shared.deferral import learned
from shared.deferral.scores import SCORES
from tests.bench.deferrals import rivals, sending, shifts, tables, videos
from tests.bench.deferrals.comparison import LOOKED, MARGIN, ORACLE, OURS, Comparison, Orders, compare, interval
from tests.bench.deferrals.judged import DELTA, EPSILON, Judged, judge
from tests.bench.deferrals.models import Lab
from tests.bench.deferrals.uplink import Uplink, uplink
from tests.bench.result import Result, conditions

DATA = ("deeppcb", "fashion-mnist")
SEEDS = (1, 2, 3)
MORE_SEEDS = (1, 2, 3, 4, 5)
DRAWS, MORE_DRAWS = 400, 2000
Figures = dict[str, float]


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found out about one data set."""

    data: str
    judged: list[Judged]
    compared: Comparison
    uplink: Uplink
    rows: list[tables.Row]
    figures: Figures


def run(*, full: bool) -> Result:
    """Measure both data sets; `full` takes five students and 2,000 calibrations."""
    names = tuple(name for name in DATA if name in os.environ.get("SETS", ",".join(DATA)).split(","))
    chosen = os.environ.get("STUDENTS")
    seeds = tuple(int(seed) for seed in chosen.split(",")) if chosen else MORE_SEEDS if full else SEEDS
    each = [_measures(data, seeds, MORE_DRAWS if full else DRAWS) for data in names]
    figures = _together(each)
    for one in each:
        figures |= {f"{one.data.replace('-', '_')}_{name}": value for name, value in one.figures.items()}
    rows = [*(row for one in each for row in one.rows), *_videos(each[0].uplink, figures)]
    if os.environ.get("DRAW"):
        from tests.bench.deferrals.picture import draw

        draw(Path(os.environ["DRAW"]) / "deferral.svg", [one.compared for one in each])
    taken = conditions(data=" ".join(names), students=len(seeds), epsilon=EPSILON, delta=DELTA)
    return Result(name="deferral", figures=figures, rows=sorted(rows, key=lambda row: _block(row, rows)), conditions=taken)


def _block(row: tables.Row, rows: list[tables.Row]) -> int:
    """Return the place of a row's kind: tables of both data sets stand together."""
    kinds = list(dict.fromkeys(tuple(one) for one in rows))
    return kinds.index(tuple(row))


def _measures(data: str, seeds: tuple[int, ...], draws: int) -> Measures:
    lab = Lab(data, lambda line: print(line, file=sys.stderr, flush=True))
    judged = [judge(lab.measured(seed), draws) for seed in seeds]
    compared = compare(data, [_orders(one) for one in judged])
    way = sending.sent(lab, judged[0].measured)
    deferred = [one.scores(one.official) < one.card.threshold for one in judged]
    answered = [one.official for one in judged]
    bytes_up = uplink(answered, deferred, arrived=way.expert, sizes=way.sizes, audit_share=shifts.AUDIT_SHARE)
    rows = [*tables.order_rows(compared), *tables.student_rows(judged)]
    rows.append(tables.uplink_row(data, f"{way.codec} {way.quality}", bytes_up, way.sizes))
    shifted, more = _shifted(data, lab, judged)
    figures = _compared(compared) | _promised(judged) | _with_interval("uplink_ratio_vs_all_frames_same_codec", bytes_up.ratio)
    figures |= _with_interval("system_minus_expert", bytes_up.minus_expert) | shifted
    return Measures(data=data, judged=judged, compared=compared, uplink=bytes_up, rows=[*rows, *more], figures=figures)


def _orders(one: Judged) -> tuple[calibrate.Answers, Orders]:
    first = one.measured.official
    alone = {
        MARGIN: SCORES["margin"](first.student),
        "learned": learned.score(deferral.fitted([one.measured.fit]), first.student),
        **{name: rule(first) for name, rule in rivals.RULES.items()},
        ORACLE: rivals.oracle(first),
    }
    twice = {f"{name}{LOOKED}": (one.official, rule(one.official)) for name, rule in rivals.RULES.items()}
    return first, {OURS: (one.official, one.scores(one.official)), **{name: (first, scores) for name, scores in alone.items()}, **twice}


def _compared(one: Comparison) -> Figures:
    return (
        _with_interval("forwards_saved", one.saved())
        | _with_interval("forwards_saved_same_answers", one.saved(LOOKED))
        | _with_interval("share_of_oracle_gain_at_10pct", one.of_oracle())
        | _with_interval("area_over_random", one.over_random(OURS))
    )


def _promised(judged: list[Judged]) -> Figures:
    return {
        "guarantee_violations": float(np.max([one.broken.share for one in judged])),
        "guarantee_promising": min(one.broken.promising / one.broken.draws for one in judged),
    }


def _shifted(data: str, lab: Lab, judged: list[Judged]) -> tuple[Figures, list[tables.Row]]:
    """Return the live threshold's and the alarm's figures on the real shift, and the rows of all shifts."""
    each = list(zip(*[shifts.shifts(lab, one) for one in judged], strict=True))
    real, *others = [list(students) for students in each]
    own = shifts.live(real, None)
    followed = [own, *(shifts.live(real, epsilon) for epsilon in shifts.EPSILONS), *(shifts.live(one, None) for one in others)]
    false = shifts.false_alarms(real)
    rows = [*(shifts.live_row(data, one) for one in followed), *(shifts.alarm_row(data, one) for one in (real, *others))]
    figures = _with_interval("risk_excess_after_10_over_eps_audits", own.excess)
    figures |= _with_interval("forward_ratio_vs_oracle_recalibration", own.ratio)
    figures |= {
        "drift_false_alarm_share": false.alarmed / false.streams,
        "drift_false_alarm_share_high": false.most,
        "drift_false_alarm_share_promised": false.promised,
    }
    return figures, rows


def _with_interval(name: str, values: Numbers) -> Figures:
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval(values), strict=True))


def _together(each: list[Measures]) -> Figures:
    """Return the figures that are asked for, over both data sets; DeepPCB's where they are about it."""
    saved = _with_interval("forwards_saved_vs_best_sedna_rule", np.mean([one.compared.saved() for one in each], axis=0))
    same = _with_interval("forwards_saved_same_answers", np.mean([one.compared.saved(LOOKED) for one in each], axis=0))
    worst = ("guarantee_violations", "risk_excess_after_10_over_eps_audits", "forward_ratio_vs_oracle_recalibration")
    figures = saved | same | {name: float(np.max([one.figures[name] for one in each])) for name in (*worst, "drift_false_alarm_share")}
    figures |= {name: min(one.figures[name] for one in each) for name in ("guarantee_promising", "drift_false_alarm_share_promised")}
    boards = [one.figures for one in each if one.data == DATA[0]]
    for name in ("share_of_oracle_gain_at_10pct", "uplink_ratio_vs_all_frames_same_codec", "system_minus_expert"):
        figures.update((name, one[name]) for one in boards)
    return figures


def _videos(up: Uplink, figures: Figures) -> list[tables.Row]:
    """Return the videos' rows, where there are videos, and add their figures."""
    paths = [data_folder() / "video" / name for name in videos.FILES]
    if not all(path.exists() for path in paths):
        return []
    found, deferred, audited = [videos.looked_at(path) for path in paths], float(up.deferred[0]), float(up.audited[0])
    figures["uplink_ratio_vs_h264_stream"] = videos.ratio(found, deferred, audited)
    figures["uplink_ratio_vs_h264_stream_gated"] = videos.ratio(found, deferred, audited, gated=True)
    return [one.row(deferred, audited) for one in found]
