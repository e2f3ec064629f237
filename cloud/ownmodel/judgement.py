"""What follows from what two models said on labelled pictures: the normalisation, whether INT8 serves, what looks wrong. Pure.

Rules, in order:
1. A normalisation is found by trying: the one with which the model is right most often; the first listed wins a tie.
2. INT8 serves when it is right at most LARGEST_DROP less often than full precision, on pictures that choose and measure nothing else.
3. A model that is hardly ever right, but would be with its labels in another order, is told so.
4. A threshold whose risk bound exceeds LARGEST_RISK promises nothing: the model is no better than a guess on these pictures, or they are
   too few. Then there is none, and devices only audit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shared.hwprofile.profile import Profile
from shared.learning.samples import Labels, Logits
from shared.release.card import Calibration
from shared.vision.tasks.logits import accuracy

LARGEST_DROP = 0.01
LARGEST_RISK = 0.25
SUSPICIOUS = 0.5
"""Right less often than this, a model is looked at for labels in another order."""
CLEARLY = 0.2
"""How much more often another order would have to be right."""


def best(tried: Mapping[str, Logits], labels: Labels) -> tuple[str, dict[str, float]]:
    """Return the normalisation with which the model is right most often, and how often it is with each (rule 1).

    Args:
        tried: logits float32 (N, C) by normalisation, in order of preference.
        labels: int64 (N).
    """
    shares = {name: accuracy(logits, labels) for name, logits in tried.items()}
    return max(shares, key=lambda name: shares[name]), shares


def int8_refused(fp32: Logits, int8: Logits, labels: Labels) -> str:
    """Return "" when INT8 serves, else why not (rule 2).

    Args:
        fp32: full precision's logits, float32 (N, C).
        int8: INT8's on the same pictures.
        labels: what they show, int64 (N).
    """
    drop = accuracy(fp32, labels) - accuracy(int8, labels)
    return "" if drop <= LARGEST_DROP else f"INT8 is right {drop:.1%} less often than full precision, {LARGEST_DROP:.1%} is allowed"


def full_asked(precision: str, profile: Profile) -> str:
    """Return "" when INT8 is to be tried, else why it was not asked for.

    Args:
        precision: auto, int8 or fp32.
        profile: of the devices.
    """
    if precision == "fp32":
        return "it was asked for"
    return f"{profile.name} asks for {profile.engine.precision}" if precision == "auto" and profile.engine.precision != "int8" else ""


def promises_nothing(found: Calibration) -> str:
    """Return "" when a calibration is worth having, else why it is not (rule 4)."""
    if found.risk_bound <= LARGEST_RISK:
        return ""
    return (
        f"the best threshold would keep up to {found.risk_bound:.0%} of all frames although they are wrong and an expert is right "
        f"({LARGEST_RISK:.0%} is the most that is told); the model does not fit these pictures, or {found.units} units are too few"
    )


def other_order(logits: Logits, labels: Labels, names: Sequence[str]) -> str:
    """Return "" or a warning that the labels seem to be in another order than the model's outputs (rule 3).

    Args:
        logits: float32 (N, C).
        labels: int64 (N).
        names: the classes.
    """
    right = accuracy(logits, labels)
    if right >= SUSPICIOUS or not len(labels):
        return ""
    answers = logits.argmax(axis=1)
    mostly = {int(label): int(np.bincount(answers[labels == label]).argmax()) for label in np.unique(labels)}
    if len(set(mostly.values())) != len(mostly):
        return ""
    would = float(np.mean([mostly[int(label)] == answer for label, answer in zip(labels, answers, strict=True)]))
    if would < right + CLEARLY:
        return ""
    wrong = [f"output {output} is mostly {names[label]!r}" for label, output in sorted(mostly.items()) if label != output]
    return f"the labels seem to be in another order than the model's outputs: {', '.join(wrong[:6])}"


def one_hot(labels: Labels, classes: int) -> Logits:
    """Return logits float32 (N, classes) of an expert that is always right: people."""
    logits = np.zeros((len(labels), classes), np.float32)
    logits[np.arange(len(labels)), labels] = 10.0
    return logits
