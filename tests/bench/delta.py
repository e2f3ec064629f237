"""Deltas between real releases, ours beside public tools in the same run, at equal inputs: bytes, seconds, memory.

Networks, trainings and forms: see tests.bench.deltas; they are trained once into TERRACE_CACHE (`TERRACE_DATA` holds the pictures),
where the rivals' sizes are kept too. Default: all updates in all forms of the 2 M network, the federated round of the 11 M one; FULL=1:
all of both. PAIRS, KINDS and MODELS (`PAIRS=round,long KINDS=frozen MODELS=mobilenet-2m`) measure a part, LARGE=0 leaves the large model
out; the rows say which, and figures whose rows are missing are left out.

Ratios are to the smallest patch of a shipped tool, the worst network's where there are several; `dense_ratio_vs_bytesub` is to
subtracting bytes under zstd, on frozen `long` updates. `apply_peak_mb` is what applying adds to a process that has imported everything,
on an untrained FP32 model of 25 M parameters and a random walk from it.
"""

from __future__ import annotations

import os
import sys

from cloud.foundry.workbench import Workbench
from shared.release.modelcache import cache
from tests.bench.deltas import large
from tests.bench.deltas.forms import KINDS, Forms
from tests.bench.deltas.measuring import Measured, measure
from tests.bench.deltas.networks import NETWORKS
from tests.bench.deltas.rivals import RIVALS
from tests.bench.deltas.trainings import PAIRS, Trainings
from tests.bench.result import Result, conditions

SMALL = "mobilenet-2m"
DEFAULT_UPDATE = "round"
Case = tuple[str, str, str]
RATIOS = {"frozen_round_ratio": "frozen", "recalibrated_round_ratio": "recalibrated", "fp16_round_ratio": "fp16"}
PER = 10e6


def run(*, full: bool) -> Result:
    """Measure the chosen pairs, and the large model's memory."""
    bench = Workbench(cache() / "foundry", lambda line: print(line, file=sys.stderr, flush=True))
    found: dict[Case, Measured] = {}
    for model in _chosen("MODELS", tuple(NETWORKS)):
        forms = Forms(Trainings(model, bench), bench)
        for update in _chosen("PAIRS", PAIRS):
            for kind in _chosen("KINDS", KINDS):
                if full or model == SMALL or update == DEFAULT_UPDATE:
                    found[model, update, kind] = measure(*forms.pair(update, kind), bench)
    peak = large.measure() if os.environ.get("LARGE") != "0" else {}
    rows = [_row(case, one) for case, one in found.items()]
    return Result(name="delta", figures=_figures(found) | peak, rows=rows, conditions=conditions(cases=len(found)))


def _chosen(name: str, every: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in every if one in os.environ.get(name, ",".join(every)).split(","))


def _row(case: Case, one: Measured) -> dict[str, float | str]:
    model, update, kind = case
    row: dict[str, float | str] = {"model": model, "update": update, "form": kind, "full": one.full}
    row |= {name: one.rivals[name] for name in RIVALS}
    return row | {"ours": one.ours, "ratio": one.ratio, "vs_bytesub": one.to_subtracted, "entropy": one.entropy}


def _figures(found: dict[Case, Measured]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for figure, kind in RATIOS.items():
        measured = [one for (_, update, form), one in found.items() if (update, form) == (DEFAULT_UPDATE, kind)]
        if measured:
            worst = max(measured, key=lambda one: one.ratio)
            figures |= {figure: worst.ratio, figure.replace("ratio", "entropy_ratio"): worst.entropy / worst.best}
    dense = [one for (_, update, form), one in found.items() if (update, form) == ("long", "frozen")]
    if dense:
        worst = max(dense, key=lambda one: one.to_subtracted)
        figures |= {"dense_ratio_vs_bytesub": worst.to_subtracted, "dense_entropy_ratio": worst.entropy / worst.rivals["bytesub_zstd"]}
    if found:
        figures["worst_ratio"] = max(one.ratio for one in found.values())
        figures["apply_seconds_per_10mb"] = max(one.apply_s / one.full * PER for one in found.values())
        figures["encode_seconds_per_10mb"] = max(one.encode_s / one.full * PER for one in found.values())
    return figures
