"""Deferral on real data: what our order of frames saves over the rivals', how near it comes to an oracle, whether its promise holds.

DeepPCB's windows and Fashion-MNIST (`TERRACE_DATA`), three students each, INT8, beside one expert; trained once into TERRACE_CACHE (about
half an hour on two free cores; a killed run goes on at the model it was at). Ours (`terrace`) is what the card would say: a second look at
doubtful frames where policy-fit shows that it pays, and margin or a learned score as the order, the latter where it was better on units
held out. `margin` and `learned` are the same without a second look. All are judged on the data set's official test list, which nothing
was chosen on; its bootstrap draws whole boards (Fashion-MNIST: pictures) and students. Every gain counts from the student's first answers.

`forwards_saved_vs_best_sedna_rule`: forwards not needed for 80 % of the way from student to expert, mean of both data sets.
`share_of_oracle_gain_at_10pct`: DeepPCB's. `guarantee_violations`: the most of both data sets, at epsilon 0.02 and delta 0.05.
DRAW=FOLDER also draws the curves (`deferral.svg`). SETS and STUDENTS (`SETS=deeppcb STUDENTS=1,2`) measure a part of it, for whoever has
no time to train the rest: the figures then say so by `students` and by what is missing. Not here: the live threshold under shifts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import calibrate, deferral, secondlook
from shared.deferral import learned
from shared.deferral.scores import SCORES
from shared.release.card import SecondLook
from tests.bench.deferrals import guarantee, rivals
from tests.bench.deferrals.comparison import MARGIN, ORACLE, OURS, Comparison, Orders, compare, interval
from tests.bench.deferrals.models import MEASURED, Lab, Measured
from tests.bench.result import Result, conditions

DATA = ("deeppcb", "fashion-mnist")
SEEDS = (1, 2, 3)
MORE_SEEDS = (1, 2, 3, 4, 5)
EPSILON, DELTA = 0.02, 0.05
DRAWS, MORE_DRAWS = 400, 2000


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One student with the score its card would name, and what that score's order, threshold and promise reach."""

    measured: Measured
    official: calibrate.Answers
    look: SecondLook | None
    found: deferral.Preference
    system: calibrate.System
    broken: guarantee.Broken


def run(*, full: bool) -> Result:
    """Measure both data sets; `full` takes five students and 2,000 calibrations."""
    names = tuple(name for name in DATA if name in os.environ.get("SETS", ",".join(DATA)).split(","))
    chosen = os.environ.get("STUDENTS")
    seeds = tuple(int(seed) for seed in chosen.split(",")) if chosen else MORE_SEEDS if full else SEEDS
    sets = [_judged(data, seeds, MORE_DRAWS if full else DRAWS) for data in names]
    compared = [compare(data, [_orders(one) for one in judged]) for data, judged in zip(names, sets, strict=True)]
    rows = [row for one, judged in zip(compared, sets, strict=True) for row in [*_order_rows(one), *_student_rows(judged)]]
    saved = np.mean([one.saved() for one in compared], axis=0)
    figures = dict(zip(("value", "low", "high"), interval(saved), strict=True))
    figures = {("forwards_saved_vs_best_sedna_rule" + ("" if key == "value" else f"_{key}")): one for key, one in figures.items()}
    for one in compared:
        figures |= _figures(one)
    if DATA[0] in names:
        figures["share_of_oracle_gain_at_10pct"] = figures["deeppcb_share_of_oracle_gain_at_10pct"]
    figures["guarantee_violations"] = max(one.broken.broken / one.broken.draws for judged in sets for one in judged)
    if os.environ.get("DRAW"):
        from tests.bench.deferrals.picture import draw

        draw(Path(os.environ["DRAW"]) / "deferral.svg", compared)
    taken = conditions(data=" ".join(names), students=len(seeds), epsilon=EPSILON, delta=DELTA)
    return Result(name="deferral", figures=figures, rows=rows, conditions=taken)


def _judged(data: str, seeds: tuple[int, ...], draws: int) -> list[Judged]:
    lab = Lab(data, lambda line: print(line, file=sys.stderr, flush=True))
    return [_judge(lab.measured(seed), draws) for seed in seeds]


def _judge(measured: Measured, draws: int) -> Judged:
    look = secondlook.chosen(measured.fit, measured.again["policy-fit"], measured.turns)
    seen = [measured.fit, measured.test, measured.official]
    if look is not None:
        seen = [secondlook.looked(one, measured.again[split], look) for one, split in zip(seen, MEASURED, strict=True)]
    fit, test, official = seen
    found = deferral.preferred(fit)
    card = calibrate.calibration(fit, test, delta=DELTA, score=found.name, ranked=found.scores, model=found.model)
    scores = np.concatenate([found.scores, calibrate.score_of(found.name, found.model)(test.student)])
    missed, units = np.concatenate([fit.missed, test.missed]), (*fit.units, *test.units)
    return Judged(
        measured=measured,
        official=official,
        look=look,
        found=found,
        system=calibrate.system(official, card.threshold, found.name, found.model),
        broken=guarantee.violations(scores, missed, units, epsilon=EPSILON, delta=DELTA, draws=draws),
    )


def _orders(one: Judged) -> tuple[calibrate.Answers, Orders]:
    first = one.measured.official
    alone = {
        MARGIN: SCORES["margin"](first.student),
        "learned": learned.score(deferral.fitted([one.measured.fit]), first.student),
        rivals.CROSS_ENTROPY: rivals.cross_entropy(first),
        rivals.IBT: rivals.ibt(first),
        ORACLE: rivals.oracle(first),
    }
    ours = calibrate.score_of(one.found.name, one.found.model)(one.official.student)
    return first, {OURS: (one.official, ours), **{name: (first, scores) for name, scores in alone.items()}}


def _figures(one: Comparison) -> dict[str, float]:
    name, figures = one.data.replace("-", "_"), {}
    for key, values in (
        ("forwards_saved", one.saved()),
        ("share_of_oracle_gain_at_10pct", one.of_oracle()),
        ("area_over_random", one.over_random(OURS)),
    ):
        figures |= dict(zip((f"{name}_{key}", f"{name}_{key}_low", f"{name}_{key}_high"), interval(values), strict=True))
    return figures


def _order_rows(one: Comparison) -> list[dict[str, float | str]]:
    """Return a row per order: forwards for 80 % of the gap, gain at 10 % forwarded, area over random."""
    rows: list[dict[str, float | str]] = []
    for name, order in one.orders.items():
        needed, low, high = interval(order.needed)
        rows.append(
            {
                "data": one.data,
                "order": name,
                "forwards_for_80pct": needed,
                "low": low,
                "high": high,
                "gain_at_10pct": float(order.at_share[0]),
                "area_over_random": float(one.over_random(name)[0]),
            }
        )
    return rows


def _student_rows(judged: list[Judged]) -> list[dict[str, float | str]]:
    """Return a row per student: what its card would say, and what the system reaches on the official list, unseen groups apart."""
    rows: list[dict[str, float | str]] = []
    for one in judged:
        official, groups = one.measured.official, np.array(one.measured.groups)
        first = official.student.argmax(axis=1) == official.labels
        expert = official.expert.argmax(axis=1) == official.labels
        rows.append(
            {
                "data": one.measured.data,
                "student": float(one.measured.seed),
                "second_look": " ".join(one.look.turns) if one.look else "none",
                "score": one.found.name,
                "learned_gain": one.found.gain,
                "learned_gain_low": one.found.low,
                "first_accuracy": float(first.mean()),
                "student_accuracy": one.system.student_accuracy,
                "expert_accuracy": one.system.expert_accuracy,
                "expert_on_unseen": float(expert[groups == "unseen"].mean()) if (groups == "unseen").any() else float("nan"),
                "deferred_share": one.system.deferred_share,
                "system_minus_expert": one.system.minus_expert,
                "violations": one.broken.broken / one.broken.draws,
            }
        )
    return rows
