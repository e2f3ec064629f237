"""Are the boards on which a detector missed a defect the ones it would defer? Whole DeepPCB boards of the official test list.

A detector is silent about what it misses, so no confidence of a box can tell; the signals of shared.deferral.missed look at what did not
become a box. Each ranks the boards; as many as 1.5 times the measured share of boards with a missed defect may be deferred. Which signal
counts was chosen on the policy-fit split. Beside it: max-softmax's like (the least sure box, and the mean over the boxes), random, oracle.
First: `make models DATA=deeppcb TASK=detection`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import detection, finding
from cloud.foundry.boards import Boards, load
from provisioning import pictured
from shared.deferral.missed import SCORES, Candidates
from shared.vision.boxes import Detections
from shared.vision.tasks.precision import Truth, missed
from tests.bench.result import Result, conditions

DATA = "deeppcb"
ALLOWED = 1.5
"""How many times the share of boards with a missed defect may be deferred."""
OURS = ("nothing_missed", "all_right", "best_doubt")
DRAWS = 1000
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """A detector on a split: what it found per board, what was there, the board's group, and the score from which boxes are told."""

    found: list[Detections]
    truth: list[Truth]
    groups: tuple[str, ...]
    threshold: float

    def lost(self) -> Flags:
        """Return on which boards a defect was missed."""
        told = [one.take(one.scores >= self.threshold) for one in self.found]
        return np.array([missed(one, true) > 0 for one, true in zip(told, self.truth, strict=True)])

    def scores(self, signal: Callable[[Candidates], float]) -> Values:
        """Return a signal per board; higher is surer."""
        return np.array([signal(Candidates(scores=one.scores, threshold=self.threshold)) for one in self.found])


def run(*, full: bool) -> Result:
    """Measure the INT8 student; `full` only draws more bootstrap samples."""
    onnx, folder = detection.finished_student(DATA, say=lambda line: print(line, file=sys.stderr, flush=True))
    boards = load(folder / "policy-fit.npz")
    found = _found(onnx, boards)
    threshold = finding.threshold_of(found, finding.truths(boards))  # as the card's is chosen
    fit = _searched(found, boards, threshold)
    with tempfile.TemporaryDirectory() as name:
        streams = load(pictured.prepare("detection", DATA, Path(name), wanted=("streams",))["streams"])
    test = _searched(_found(onnx, streams), streams, threshold)
    signals: dict[str, Callable[[Candidates], float]] = {**SCORES, "mean_box": mean_box}
    ours = max(OURS, key=lambda one: caught(fit.scores(signals[one]), fit.lost()))
    rows = [_row(name, test.scores(signal), test) for name, signal in signals.items()]
    return Result(
        name="missed", figures=_figures(test, signals, ours, 4 * DRAWS if full else DRAWS), rows=rows, conditions=_conditions(test, ours)
    )


def mean_box(found: Candidates) -> float:
    """Return the mean score of the told boxes, 1 without a box: how hard-example filters judge a list of boxes."""
    return float(found.told.mean()) if len(found.told) else 1.0


def caught(scores: Values, lost: Flags) -> float:
    """Return which share of the boards with a missed defect is among those that may be deferred, the least sure first."""
    if not lost.any():
        return 1.0
    allowed = min(len(lost), int(ALLOWED * lost.sum()))
    return float(lost[np.argsort(scores, kind="stable")[:allowed]].sum() / lost.sum())


def interval(scores: Values, lost: Flags, draws: int) -> tuple[float, float]:
    """Return the bootstrap interval (95 %) of `caught` over boards."""
    random = np.random.default_rng(0)
    drawn = [random.integers(0, len(lost), len(lost)) for _ in range(draws)]
    values = [caught(scores[one], lost[one]) for one in drawn]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def _found(onnx: Path, boards: Boards) -> list[Detections]:
    return finding.detections(onnx, boards.scenes.frames, boards.spec, len(boards.names))


def _searched(found: list[Detections], boards: Boards, threshold: float) -> Searched:
    return Searched(found=found, truth=finding.truths(boards), groups=boards.groups, threshold=threshold)


def _row(name: str, scores: Values, test: Searched) -> dict[str, float | str]:
    lost, groups = test.lost(), np.array(test.groups)
    shares = {group: caught(scores[groups == group], lost[groups == group]) for group in ("seen", "unseen")}
    return {"signal": name, "caught": caught(scores, lost), **{f"caught_{group}_groups": value for group, value in shares.items()}}


def _figures(test: Searched, signals: dict[str, Callable[[Candidates], float]], ours: str, draws: int) -> dict[str, float]:
    lost, scores = test.lost(), test.scores(signals[ours])
    low, high = interval(scores, lost, draws)
    return {
        "missed_caught_share": caught(scores, lost),
        "missed_caught_share_low": low,
        "missed_caught_share_high": high,
        "max_softmax_caught_share": caught(test.scores(signals["least_sure_box"]), lost),
        "mean_box_caught_share": caught(test.scores(mean_box), lost),
        "random_caught_share": min(1.0, ALLOWED * float(lost.mean())),
        "oracle_caught_share": 1.0,
        "boards_with_missed_share": float(lost.mean()),
        "deferred_share": min(1.0, ALLOWED * float(lost.mean())),
        **{f"student_{name}": value for name, value in finding.figures(test.found, test.truth, test.threshold).items()},
    }


def _conditions(test: Searched, ours: str) -> dict[str, str | float]:
    return conditions(
        data="DeepPCB, official test list, whole boards", boards=float(len(test.truth)), signal=ours, threshold=test.threshold
    )
