"""A second look: a student's doubtful frames are run again mirrored, and the answers averaged, before anything is sent. Pure.

Turning a picture costs a device one more pass on the few frames it doubts; what it doubts less afterwards need not travel. Only turns
that a frame's class survives may stand in a card (the foundry knows from the data set's plan), and only where they were better.

Rules, in order:
1. A frame is looked at again when its logit margin lies below `below`. All others keep their first answer.
2. Its logits are the mean over the frame as it is and all `turns` of it.
3. Threshold, curve and bounds of a card with a second look are those of the averaged logits: whoever uses them looks twice.

Example:
    >>> look = SecondLook(below=1.0, turns=("mirror",))
    >>> answered(lambda batch: batch[:, 0, 0, :2] * 1.0, np.array([[[[3.0, 2.5]]]]), look).tolist()
    [[2.75, 2.75]]
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import numpy as np

from shared.deferral.scores import margin
from shared.errors import TrustError
from shared.release.card import Card, SecondLook

Outputs = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Run = Callable[[Outputs], Outputs]
TURNS: dict[str, tuple[int, ...]] = {"mirror": (3,), "upside_down": (2,), "half_turn": (2, 3)}
"""The axes of a batch (N, C, H, W) that a turn reverses."""
CLASSIFICATION = "classification"


def answered(run: Run, batch: Outputs, look: SecondLook | None) -> Outputs:
    """Return the logits of a batch, doubtful rows averaged over their turns.

    Args:
        run: the engine's.
        batch: float32 (N, C, H, W).
        look: the card's, or None for the first answers alone.

    Raises:
        EngineError: the engine failed, or the outputs are no logits of at least two classes.
    """
    outputs = run(batch)
    if look is None:
        return outputs
    doubtful = np.flatnonzero(margin(outputs) < look.below)
    if not len(doubtful):
        return outputs
    first, result = batch[doubtful], np.array(outputs)
    parts = [result[doubtful], *(np.array(run(turned(first, turn))) for turn in look.turns)]
    result[doubtful] = averaged(parts)
    return result


def averaged(parts: list[Outputs]) -> Outputs:
    """Return the mean of several answers to the same frames, each float32 (N, C), in the order and rounding of a device's."""
    return np.asarray(np.mean(np.stack(parts), axis=0, dtype=np.float64), np.float32)


def turned(batch: Outputs, turn: str) -> Outputs:
    """Return a batch turned: its pixels in another order, contiguous."""
    return np.ascontiguousarray(np.flip(batch, TURNS[turn]))


def check(card: Card) -> None:
    """Refuse a card whose second look cannot be taken.

    Raises:
        TrustError: of another task, without turns, with an unknown or repeated one, or with a limit that is no number.
    """
    look = card.second_look
    if look is None:
        return
    if card.task != CLASSIFICATION:
        raise TrustError(f"a card for {card.task} has a second look, which is for classification.")
    if not look.turns or len(set(look.turns)) != len(look.turns) or not set(look.turns) <= set(TURNS) or not isfinite(look.below):
        raise TrustError(f"the card's second look turns {', '.join(look.turns) or 'nothing'} below {look.below}.", "Update the agent.")
