"""Runs a model beside the one in service to see whether it does what its card says: the self-test, its speed."""

from __future__ import annotations

import numpy as np

from edge import selftest
from edge.model import LoadedModel
from shared import clock
from shared.release.card import SelfTest
from shared.vision.preprocess import prepare
from shared.vision.tasks.task import task_of

TIMED_RUNS = 5


def unfit(model: LoadedModel, *, family: str, release: int, taken_ms: float, before_ms: float | None) -> str:
    """Return why a model may not serve, "" when it may.

    Args:
        model: the model, loaded.
        family: whose release it should be.
        release: which it should be.
        taken_ms: how long it takes for a frame, milliseconds (`latency_ms`).
        before_ms: how long the model in service took, None when there is none.
    """
    card = model.card
    if (card.model, card.release) != (family, release):
        return f"its card is of {card.model} {card.release}"
    return selftest.compare(card.self_test, _outline(model, card.self_test)) or selftest.judge_latency(taken_ms, before_ms)


def latency_ms(model: LoadedModel) -> float:
    """Return the best of some runs on one blank input, in milliseconds; the best, because the device is busy answering."""
    spec = model.card.input
    batch = np.zeros((1, spec.channels, spec.height, spec.width), np.float32)
    times = []
    for _ in range(TIMED_RUNS):
        began = clock.monotonic()
        model.engine.run(batch)
        times.append(clock.monotonic() - began)
    return 1000.0 * min(times)


def _outline(model: LoadedModel, test: SelfTest) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    frames, task = test.frames(), task_of(model.card)
    runs = [model.engine.run(prepare(frames[number : number + 1], model.card.input)) for number in range(len(frames))]
    return np.concatenate([task.outline(outputs) for outputs in runs])
