"""The rows behind the figures: orders, students, uplink. Pure."""

from __future__ import annotations

import math

import numpy as np

from tests.bench.deferrals.comparison import Comparison, interval
from tests.bench.deferrals.judged import Judged
from tests.bench.deferrals.uplink import Uplink

Row = dict[str, float | str]


def order_rows(one: Comparison) -> list[Row]:
    """Return a row per order: forwards for 80 % of the gap, gain at 10 % forwarded, area over random."""
    rows: list[Row] = []
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


def student_rows(judged: list[Judged]) -> list[Row]:
    """Return a row per student: what its card says, what a second look costs and gains, what the system reaches, unseen groups apart."""
    rows: list[Row] = []
    for one in judged:
        official, groups = one.measured.official, np.array(one.measured.groups)
        first = official.student.argmax(axis=1) == official.labels
        expert = official.expert.argmax(axis=1) == official.labels
        unseen = groups == "unseen"
        rows.append(
            {
                "data": one.measured.data,
                "student": float(one.measured.seed),
                "second_look": " ".join(one.look.turns) if one.look else "none",
                "more_passes": one.passes,
                "first_accuracy": float(first.mean()),
                "student_accuracy": one.system.student_accuracy,
                "expert_accuracy": one.system.expert_accuracy,
                "expert_on_unseen": float(expert[unseen].mean()) if unseen.any() else math.nan,
                "score": one.found.name,
                "learned_gain": one.found.gain,
                "learned_gain_low": one.found.low,
                "card_epsilon": one.card.epsilon,
                "deferred_share": one.system.deferred_share,
                "system_minus_expert": one.system.minus_expert,
                "promising": float(one.broken.promising),
                "violations": one.broken.share,
            }
        )
    return rows


def uplink_row(data: str, codec: str, one: Uplink, sizes: np.ndarray) -> Row:
    """Return a data set's row of bytes: what is sent beside all frames, and what the answers lose on the expert's."""
    ratio, ratio_low, ratio_high = interval(one.ratio)
    loss, loss_low, loss_high = interval(one.minus_expert)
    return {
        "data": data,
        "codec": codec,
        "case_bytes": float(sizes.mean()),
        "deferred": float(one.deferred[0]),
        "audited": float(one.audited[0]),
        "uplink_ratio": ratio,
        "uplink_low": ratio_low,
        "uplink_high": ratio_high,
        "system_minus_expert": loss,
        "loss_low": loss_low,
        "loss_high": loss_high,
    }
