"""The foundry at work for a round: cloud.foundry's functions put together behind the three verbs of `foundry.Foundry`.

Rules, in order:
1. Aggregated weights that lost at most REPAIR_FROM of `largest_drop` on the seed set stay as they are: the seed set knows nothing of
   what the regions saw, so tuning on it washes part of that out. Else they are tuned in slices of SLICE_STEPS until that holds or
   `distil_steps` are spent. A student that lost more than `largest_drop` even so is taken back half-way towards the current one, once,
   before the gates may refuse it (interpolation keeps most of what was won and nearly all of what was known).
2. The candidate's threshold keeps the share of the seed set deferred that the current student defers; where the regions' held-out units
   suffice for an exact bound, the lowest threshold within `epsilon` on them takes its place. The card says which.
3. The regions' counts judge a candidate from `minimum_held_out` cases on; with fewer the seed set alone decides, and the verdict says so.
4. Cases people labelled are a gate of their own, whatever their number; the verdict says how many there were, also when there were none.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cloud.config import Settings
from cloud.evidence import Check
from cloud.federation import seedset
from cloud.federation.foundry import Arrays, Candidate, Current, Verdict
from cloud.federation.tallies import Pair, human_pairs, paired
from cloud.federation.thresholds import pooled_bins, safe_edge
from cloud.foundry import calibrate, distil, export, gates, pictures, predictions, quantise
from cloud.foundry.gates import Counts
from cloud.foundry.pictures import Pictures
from cloud.foundry.selftest import self_test
from shared import durable
from shared.clock import wall
from shared.deferral import risk, scores
from shared.errors import FederationError
from shared.release.card import Calibration, Card, Lineage, sha256
from shared.vision.tasks.logits import accuracy
from shared.wire.reports import EvaluationReply

THREADS = 1
EDGES = 19
LARGEST_CALIBRATION = 256
LARGEST_SEED = 1000
"""Pictures of the seed set that are measured on, spread evenly."""
EXPERT = "expert"
REPAIR_FROM = 0.75
SLICE_STEPS = 20


class Workshop:
    """Distils, quantises and gates with the files `terrace cloud init` imported.

    Args:
        settings: cloud.toml.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models = settings.models
        self._rules = settings.foundry

    def distil(self, aggregated: Arrays, current: Current, *, seed: int) -> tuple[Arrays, dict[str, float]]:
        """Tune on the seed set what forgot too much of it; take it back half-way when that does not help (rule 1).

        Raises:
            FederationError: the weights do not fit, or are not finite.
            InputError: the seed set cannot be read.
        """
        known = self._seed_set()
        _, before = distil.distil(current.arrays, None, known, steps=0, threads=THREADS)
        was = before["seed_accuracy"]
        arrays, figures = self._tuned(aggregated, known, was, seed)
        if was - figures["seed_accuracy"] > self._rules.largest_drop:
            half = {name: (0.5 * (value + current.arrays[name])).astype(np.float32) for name, value in aggregated.items()}
            arrays, again = self._tuned(half, known, was, seed)
            figures = {**figures, **again, "taken_back_half_way": 1.0}
        if not all(np.isfinite(value).all() for value in arrays.values()):
            raise FederationError("the student's weights are not finite after the seed set.", "Lower the regions' learning rate.")
        return arrays, {**figures, "seed_accuracy_current": was}

    def _tuned(self, arrays: Arrays, known: Pictures, was: float, seed: int) -> tuple[Arrays, dict[str, float]]:
        """Return weights tuned as long as they are worse on the seed set than `was` by more than may stay, and their figures."""
        limit = was - REPAIR_FROM * self._rules.largest_drop
        _, figures = distil.distil(arrays, None, known, steps=0, threads=THREADS)
        done, turning, first = 0, seedset.may_turn(self._settings), figures["seed_accuracy"]
        while figures["seed_accuracy"] < limit and done < self._rules.distil_steps:
            steps = min(SLICE_STEPS, self._rules.distil_steps - done)
            arrays, figures = distil.distil(arrays, self._expert(), known, steps=steps, seed=seed + done, threads=THREADS, turning=turning)
            done += steps
        return arrays, {**figures, "seed_accuracy_before": first, "distil_steps": float(done)}

    def quantise(self, arrays: Arrays, current: Current, *, release: int, round_number: int, data: str, folder: Path) -> Candidate:
        """Export, quantise, measure on the seed set, and write the card.

        Raises:
            FederationError: the weights do not fit the current student's classes and size.
            InputError: the calibration set cannot be read or is too small.
        """
        card = current.card
        model = distil.student_model(arrays, classes=len(card.labels), side=card.input.width)
        fp32 = export.to_onnx(model, side=card.input.width)
        calibration = self._calibration_set()
        int8 = quantise.quantise(fp32, calibration.frames, card.input)
        whole, path = folder / "candidate.fp32.onnx", folder / "candidate.onnx"
        durable.write(whole, fp32)
        durable.write(path, int8)
        known = self._seed_set().evenly(LARGEST_SEED)
        logits = predictions.logits(path, known.frames, card.input, threads=THREADS)
        seen = predictions.logits(path, known.frames, card.input, threads=THREADS, look=card.second_look) if card.second_look else logits
        figures = {
            "seed_accuracy_fp32": accuracy(predictions.logits(whole, known.frames, card.input, threads=THREADS), known.labels),
            "seed_accuracy_int8": accuracy(logits, known.labels),
        }
        lineage = Lineage(
            parent=current.release,
            round=round_number,
            recipe="federated average of the regions' students, distilled on the seed set, static INT8",
            data=data,
            code=metadata.version("terrace"),
            created_at=wall(),
            figures=figures,
        )
        made = Card(
            model="student",
            release=release,
            labels=card.labels,
            input=card.input,
            self_test=self_test(known.frames, known.labels, logits),
            lineage=lineage,
            task=card.task,
            calibration=self._like_current(current, known, seen),
            picture_quality=card.picture_quality,
            onnx_sha256=sha256(int8),
            second_look=card.second_look,
            schema=card.schema,
        )
        return Candidate(onnx=path, card=made, edges=edges_of(scores.of(made.calibration)(seen)))

    def gate(self, candidate: Candidate, current: Current, replies: Sequence[EvaluationReply]) -> Verdict:
        """Judge on pooled counts and seed set."""
        checks, notes, pooled = self._on_cases([(reply.candidate, reply.current) for reply in replies])
        human, human_note = self._on_human_cases(human_pairs(replies), generated=sum(one.human_generated for one in replies))
        checks += human
        notes.append(human_note)
        known = self._seed_set().evenly(LARGEST_SEED)
        now, current_now = (self._accuracy(one.onnx, one.card, known) for one in (candidate, current))
        checks.append(gates.on_seed_set(now, current_now, largest_drop=self._rules.largest_drop))
        checks.append(gates.on_quantisation(candidate.card.lineage.figures.get("seed_accuracy_fp32", now), now))
        card, note = self._calibrated(candidate, replies)
        figures = {**card.lineage.figures, "held_out_cases": float(pooled.total), "held_out_accuracy": pooled.accuracy}
        card = msgspec.structs.replace(card, lineage=msgspec.structs.replace(card.lineage, figures=figures))
        return Verdict(checks=tuple(checks), notes=(*notes, note), card=card)

    def _on_cases(self, pairs: Sequence[Pair]) -> tuple[list[Check], list[str], Counts]:
        now, was, changes = paired(pairs)
        if now.total < self._rules.minimum_held_out:
            few = f"{now.total} held-out cases in all regions, {self._rules.minimum_held_out} are needed: the seed set alone decides."
            return [], [few], now
        checks = gates.on_cases(now, was, largest_drop=self._rules.largest_drop, changes=changes)
        return [*checks], [f"{now.total} held-out cases of {len(pairs)} regions: {was.accuracy:.4f} before, {now.accuracy:.4f} now."], now

    def _on_human_cases(self, pairs: Sequence[Pair], *, generated: int) -> tuple[list[Check], str]:
        now, was, changes = paired(pairs)
        if not now.total:
            return [], "no region has held-out cases with labels that people agreed on: no such gate."
        checks = gates.on_human_cases(now, was, largest_drop=self._rules.largest_drop, changes=changes)
        who = f" ({generated} of them labelled by a generator in the place of people)" if generated else ""
        note = f"{now.total} human-labelled cases of {len(pairs)} regions{who}: {was.accuracy:.4f} before, {now.accuracy:.4f} now."
        return [*checks], note

    def judge(self, current: Current, update: Arrays) -> str:
        """Look alone at one update, on the seed set: one that forgets more than the gates allow must not count."""
        known = self._seed_set()
        _, before = distil.distil(current.arrays, None, known, steps=0, threads=THREADS)
        _, after = distil.distil(update, None, known, steps=0, threads=THREADS)
        lost = before["seed_accuracy"] - after["seed_accuracy"]
        if lost > self._rules.largest_drop:
            return f"its update is unlike the others' and loses {lost:.3f} on the seed set"
        return ""

    def _calibrated(self, candidate: Candidate, replies: Sequence[EvaluationReply]) -> tuple[Card, str]:
        card, rules = candidate.card, self._rules
        cases, wrong = pooled_bins([reply.candidate for reply in replies], len(candidate.edges) + 1)
        found = safe_edge(cases, wrong, candidate.edges, epsilon=rules.epsilon, delta=rules.delta, most=calibrate.MOST_DEFERRED)
        if found is None or card.calibration is None:
            return card, f"{sum(cases)} held-out units are too few for a bound of their own: the threshold is the seed set's."
        threshold, errors = found
        calibration = Calibration(
            score=card.calibration.score,
            learned=card.calibration.learned,
            threshold=threshold,
            epsilon=rules.epsilon,
            delta=rules.delta,
            risk_bound=risk.bound(errors, sum(cases), rules.delta),
            units=sum(cases),
            frames=sum(cases),
        )
        return msgspec.structs.replace(card, calibration=calibration), f"the threshold rests on {sum(cases)} held-out units."

    def _like_current(self, current: Current, known: Pictures, logits: Any) -> Calibration | None:
        """Return the current card's calibration with the threshold at the same quantile, and its risk measured on the seed set."""
        old, expert = current.card.calibration, self._expert()
        if old is None or expert is None:
            return None
        score = scores.of(old)
        card = current.card
        was = score(predictions.logits(current.onnx, known.frames, card.input, threads=THREADS, look=card.second_look))
        threshold = float(np.quantile(score(logits), float((was < old.threshold).mean())))
        answers = calibrate.Answers(
            student=logits,
            expert=predictions.logits(expert, known.frames, current.card.input, threads=THREADS),
            labels=known.labels,
            units=known.units,
        )
        drawn = calibrate.one_per_unit(known.units)
        errors = int(((score(logits)[drawn] >= threshold) & answers.missed[drawn]).sum())
        bound = risk.bound(errors, len(drawn), old.delta)
        return msgspec.structs.replace(old, threshold=threshold, risk_bound=bound, units=len(drawn), frames=len(known.labels))

    def _accuracy(self, onnx: Path, card: Card, known: Pictures) -> float:
        return accuracy(predictions.logits(onnx, known.frames, card.input, threads=THREADS, look=card.second_look), known.labels)

    def _seed_set(self) -> Pictures:
        return pictures.load(self._rules.seed_set or self._models / "seed.npz")

    def _calibration_set(self) -> Pictures:
        path = self._rules.calibration_set or self._models / "calibration.npz"
        return (pictures.load(path) if path.exists() else self._seed_set()).evenly(LARGEST_CALIBRATION)

    def _expert(self) -> Path | None:
        found = sorted((self._models / EXPERT).glob("*.onnx"))
        return found[-1] if found else None


def edges_of(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, ...]:
    """Return the edges that cut scores into twenty bins of equal size, ascending and all different."""
    shares = np.arange(1, EDGES + 1) / (EDGES + 1)
    return tuple(float(edge) for edge in np.unique(np.quantile(values, shares)))
