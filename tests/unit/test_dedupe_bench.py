"""The bench of near-duplicates: what counts as saved and as wrong."""

import numpy as np

from shared.deferral.dedupe import describe
from tests.bench import dedupe


def _stream(levels: list[int], expert: list[int], sure: list[float] | None = None) -> dedupe.Stream:
    return dedupe.Stream(
        name="x",
        looks=[describe(np.full((24, 24, 3), level, np.uint8)) for level in levels],
        sure=np.array(sure or [0.0] * len(levels), np.float32),
        student=np.zeros(len(levels), np.int64),
        expert=np.array(expert),
    )


def test_an_heir_is_wrong_when_the_expert_says_another_thing_of_itself() -> None:
    found = dedupe.replayed(_stream([100, 101, 102, 200], [1, 1, 0, 1]), share=1.0, nearness=6.0)
    assert (found.hard, found.sent, found.wrong, found.own_wrong) == (4, 2, 1, 1)


def test_only_the_least_sure_share_would_have_been_sent() -> None:
    found = dedupe.replayed(_stream([100] * 4, [1] * 4, sure=[0.0, 3.0, 0.1, 5.0]), share=0.4, nearness=6.0)
    assert (found.frames, found.hard, found.sent) == (4, 2, 1)
