"""Writes releases' cards: a student's with calibration, curve and figures, an expert's with its picture quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloud.foundry import calibrate, deferral
from cloud.foundry.calibrate import Answers
from cloud.foundry.pictures import Pictures, input_spec
from cloud.foundry.selftest import self_test
from shared.learning.samples import Logits
from shared.release.card import Card, Lineage, QualityPoint, SecondLook, schema_of, sha256


def student_card(
    *,
    release: int,
    onnx: bytes,
    pictures: Pictures,
    logits: Logits,
    fit: Answers,
    test: Answers,
    quality: tuple[QualityPoint, ...],
    lineage: Lineage,
    delta: float = 0.05,
    turns: Sequence[Answers] = (),
    look: SecondLook | None = None,
) -> Card:
    """Return a student's card.

    Args:
        release: its number.
        onnx: the INT8 file.
        pictures: where the self-test's inputs are taken from.
        logits: what the file gives on `pictures`, float32 (N, C).
        fit: both models on the policy-fit split.
        test: both models on the policy-test split.
        quality: what picture codecs cost; the first is the one devices use.
        lineage: where it came from; the system's figures are added.
        delta: the chance that the risk bound is broken.
        turns: both models on the policy-fit split's pictures turned, in the same order; they help to fit a learned score.
        look: the second look with which `fit` and `test` were answered.
    """
    found = deferral.preferred(fit, turns)
    calibration = calibrate.calibration(fit, test, delta=delta, score=found.name, ranked=found.scores, model=found.model)
    reached = calibrate.system(test, calibration.threshold, calibration.score, calibration.learned)
    figures = {
        "learned_score_gain": found.gain,
        "learned_score_gain_low": found.low,
        "deferred_share": reached.deferred_share,
        "system_accuracy": reached.system_accuracy,
        "expert_accuracy": reached.expert_accuracy,
        "system_minus_expert": reached.minus_expert,
    }
    spec = input_spec(pictures.side)
    return Card(
        model="student",
        release=release,
        labels=pictures.names,
        input=spec,
        self_test=self_test(pictures.frames, pictures.labels, logits),
        lineage=with_figures(lineage, figures),
        calibration=calibration,
        deferral_curve=calibrate.curve(test, calibration.score, calibration.learned),
        picture_quality=quality,
        onnx_sha256=sha256(onnx),
        second_look=look,
        schema=schema_of(spec, look),
    )


def expert_card(
    *, release: int, onnx: bytes, pictures: Pictures, logits: Logits, quality: tuple[QualityPoint, ...], lineage: Lineage
) -> Card:
    """Return an expert's card; arguments as for a student's."""
    return Card(
        model="expert",
        release=release,
        labels=pictures.names,
        input=input_spec(pictures.side),
        self_test=self_test(pictures.frames, pictures.labels, logits),
        lineage=lineage,
        picture_quality=quality,
        onnx_sha256=sha256(onnx),
    )


def with_figures(lineage: Lineage, figures: Mapping[str, float]) -> Lineage:
    """Return the lineage with figures added; what it had keeps its place unless named again."""
    return Lineage(
        parent=lineage.parent,
        round=lineage.round,
        recipe=lineage.recipe,
        data=lineage.data,
        code=lineage.code,
        created_at=lineage.created_at,
        figures={**lineage.figures, **figures},
    )
