"""Near-duplicates: what looks alike shares an answer, a fault never hides in a mean, and nothing old or unanswered attracts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from provisioning.line.boards import generate
from shared.deferral.dedupe import GRID, RecentCases, describe, distance

NEARNESS = 6.0


def cases(**over: float) -> RecentCases[str, str]:
    return RecentCases(**{"nearness": NEARNESS, "within_s": 60.0, "answer_s": 5.0, "capacity": 8, **over})  # type: ignore[arg-type]


def grey(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


@settings(deadline=None)
@given(st.integers(1, 130), st.integers(1, 130), st.integers(0, 255))
def test_a_plain_frame_of_any_size_is_described_by_its_level(height: int, width: int, level: int) -> None:
    found = describe(np.full((height, width, 3), level, np.uint8))
    assert found.shape == (min(GRID, height), min(GRID, width))
    np.testing.assert_allclose(found, level, atol=0.01)


def test_noise_is_near_and_a_small_fault_is_far() -> None:
    random = np.random.default_rng(0)
    scene = random.integers(60, 180, (1, 12, 12, 1)).repeat(8, axis=1).repeat(8, axis=2).repeat(3, axis=3)[0]
    noisy = [np.clip(scene + random.normal(0, 4, scene.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    faulty = noisy[1].copy()
    faulty[40:46, 20:26] = 0
    assert distance(describe(noisy[0]), describe(noisy[1])) < NEARNESS
    assert distance(describe(noisy[0]), describe(faulty)) > 4 * NEARNESS


def test_windows_of_the_line_are_no_duplicates_of_each_other() -> None:
    """Forty windows of other boards: the wiring differs, so not one may inherit another's answer."""
    described = [describe(frame) for frame in generate(seed=5, boards=10, windows=4).frames]
    apart = [distance(one, other) for place, one in enumerate(described) for other in described[:place]]
    assert min(apart) > NEARNESS


def test_frames_of_unlike_size_are_never_near() -> None:
    assert distance(describe(grey(9)), describe(np.full((12, 12, 3), 9, np.uint8))) == float("inf")


def test_an_heir_inherits_the_answer_when_it_is_there() -> None:
    seen = cases()
    seen.add("first", describe(grey(100)), now=0.0)
    waiting = seen.find(describe(grey(102)), now=1.0)
    assert waiting is not None
    assert (waiting.key, waiting.answer) == ("first", None)
    seen.answered("first", "spur")
    found = seen.find(describe(grey(102)), now=30.0)
    assert found is not None
    assert found.answer == "spur"
    assert seen.find(describe(grey(107)), now=30.0) is None


def test_a_case_whose_answer_does_not_come_attracts_no_more() -> None:
    seen = cases()
    seen.add("lost", describe(grey(100)), now=0.0)
    assert seen.find(describe(grey(100)), now=5.0) is not None
    assert seen.find(describe(grey(100)), now=5.1) is None
    seen.answered("lost", "late, but true")
    assert seen.find(describe(grey(100)), now=5.2) is not None


def test_the_nearest_case_is_inherited_from() -> None:
    seen = cases()
    seen.add("far", describe(grey(100)), now=0.0)
    seen.add("near", describe(grey(104)), now=0.0)
    found = seen.find(describe(grey(105)), now=0.1)
    assert found is not None
    assert found.key == "near"


def test_an_answer_to_a_forgotten_case_does_nothing() -> None:
    seen = cases()
    seen.answered("never seen", "copper")
    assert len(seen) == 0


class Memory(RuleBasedStateMachine):
    """A slow drift of brightness past a memory of three: whoever is found is near, young, and answered or freshly asked."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.count = 0.0, 0
        self.seen: RecentCases[int, int] = RecentCases(nearness=NEARNESS, within_s=20.0, answer_s=5.0, capacity=3)
        self.model: dict[int, tuple[int, float, bool]] = {}

    @rule(seconds=st.floats(0.0, 12.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(level=st.integers(0, 40))
    def defer(self, level: int) -> None:
        self.count += 1
        self.seen.add(self.count, describe(grey(level)), now=self.now)
        self.model[self.count] = (level, self.now, False)
        self.model = dict(list(self.model.items())[-3:])

    @rule(back=st.integers(0, 4))
    def answer(self, back: int) -> None:
        key = self.count - back
        self.seen.answered(key, key)
        if key in self.model:
            self.model[key] = (*self.model[key][:2], True)

    @rule(level=st.integers(0, 40))
    def find(self, level: int) -> None:
        found = self.seen.find(describe(grey(level)), now=self.now)
        near = {
            key: abs(own - level)
            for key, (own, at, answered) in self.model.items()
            if abs(own - level) < NEARNESS and self.now - at <= 20.0 and (answered or self.now - at <= 5.0)
        }
        assert (found is None) == (not near)
        if found is not None:
            assert near[found.key] == min(near.values())

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.seen) <= 3


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("shape", [(640, 640), (360, 640)])
def test_a_descriptor_is_small(shape: tuple[int, int]) -> None:
    assert describe(np.zeros((*shape, 3), np.uint8)).nbytes == 4 * GRID * GRID
