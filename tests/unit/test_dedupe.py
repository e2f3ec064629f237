"""Near-duplicates: what looks alike shares an answer, a fault hides in no mean, and nothing old, unanswered or of elsewhere attracts."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from provisioning.line.boards import generate
from shared.deferral.dedupe import GRID, RecentCases, describe, distance

NEARNESS = 6.0


def cases() -> RecentCases[str]:
    return RecentCases(nearness=NEARNESS, within_s=60.0, answer_s=5.0, capacity=8)


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
    seen.add("a", 1, describe(grey(100)), now=0.0)
    waiting = seen.inherit("a", describe(grey(102)), now=1.0)
    assert waiting is not None
    assert (waiting.frame, waiting.answer) == (1, None)
    seen.answered("a", 1, "spur")
    found = seen.inherit("a", describe(grey(102)), now=30.0)
    assert found is not None
    assert found.answer == "spur"
    assert seen.inherit("a", describe(grey(107)), now=30.0) is None


def test_a_case_whose_answer_does_not_come_attracts_no_more() -> None:
    seen = cases()
    seen.add("a", 1, describe(grey(100)), now=0.0)
    assert seen.inherit("a", describe(grey(100)), now=5.0) is not None
    assert seen.inherit("a", describe(grey(100)), now=5.1) is None
    seen.answered("a", 1, "late, but true")
    assert seen.inherit("a", describe(grey(100)), now=5.2) is not None


def test_the_nearest_case_is_inherited_from_and_of_equals_the_newest() -> None:
    seen = cases()
    for number, level in ((1, 100), (2, 104), (3, 104)):
        seen.add("a", number, describe(grey(level)), now=0.0)
    found = seen.inherit("a", describe(grey(105)), now=0.1)
    assert found is not None
    assert found.frame == 3


def test_an_answer_to_a_forgotten_case_does_nothing() -> None:
    seen = cases()
    seen.answered("a", 1, "copper")
    assert len(seen) == 0


def test_so_many_wait_for_one_case_and_no_more_but_an_answer_is_for_all() -> None:
    seen = RecentCases[str](nearness=NEARNESS, within_s=60.0, answer_s=5.0, capacity=8, heirs=2)
    seen.add("a", 1, describe(grey(100)), now=0.0)
    assert [seen.inherit("a", describe(grey(100)), now=1.0) is not None for _ in range(3)] == [True, True, False]
    seen.answered("a", 1, "spur")
    assert all(seen.inherit("a", describe(grey(100)), now=1.0) for _ in range(9))


def test_who_is_uncertain_where_the_case_was_not_sent_does_not_inherit() -> None:
    seen = cases()
    seen.add("a", 1, describe(grey(100)), now=0.0, part=(0.2, 0.2, 0.6, 0.6))
    assert seen.inherit("a", describe(grey(100)), now=1.0) is None, "the whole frame is uncertain"
    assert seen.inherit("a", describe(grey(100)), now=1.0, part=(0.5, 0.5, 0.7, 0.7)) is None
    assert seen.inherit("a", describe(grey(100)), now=1.0, part=(0.3, 0.3, 0.6, 0.6)) is not None
    seen.add("a", 2, describe(grey(100)), now=1.0)
    found = seen.inherit("a", describe(grey(100)), now=1.0)
    assert found is not None
    assert found.frame == 2, "the whole of it was sent"


LEVELS = st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True)


@given(LEVELS, st.integers(0, 40), st.randoms(use_true_random=False))
def test_in_which_order_answers_and_cases_of_a_moment_come_changes_nothing(levels: list[int], level: int, random: Random) -> None:
    """Jitter decides what has come; among what has come, nothing depends on the order. Two cases as near as each other are told apart by
    age alone, so the levels here are no equals to the frame's."""
    if len({abs(one - level) for one in levels}) < len(levels):
        return
    found = []
    for _ in range(2):
        seen = cases()
        order = list(levels)
        random.shuffle(order)
        for one in order:
            seen.add("a", one, describe(grey(one)), now=0.0)
        random.shuffle(order)
        for one in order:
            seen.answered("a", one, str(one))
        case = seen.inherit("a", describe(grey(level)), now=30.0)
        found.append(case and (case.frame, case.answer))
    assert found[0] == found[1]


class Memory(RuleBasedStateMachine):
    """Two streams drift in brightness past a memory of three: whoever is found is of the same stream, near, young, and answered or freshly
    asked; whatever the clock of a frame says, also one that runs behind."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.count = 0.0, 0
        self.seen: RecentCases[int] = RecentCases(nearness=NEARNESS, within_s=20.0, answer_s=5.0, capacity=3, heirs=10**6)
        self.model: dict[str, dict[int, tuple[int, float, bool]]] = {"a": {}, "b": {}}

    @rule(seconds=st.floats(0.0, 12.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(stream=st.sampled_from("ab"), level=st.integers(0, 40), behind=st.sampled_from([0.0, 0.0, 3.0, 19.0]))
    def defer(self, stream: str, level: int, behind: float) -> None:
        self.count += 1
        self.seen.add(stream, self.count, describe(grey(level)), now=self.now - behind)
        self.model[stream][self.count] = (level, self.now - behind, False)
        self.model[stream] = dict(list(self.model[stream].items())[-3:])

    @rule(stream=st.sampled_from("ab"), back=st.integers(0, 4))
    def answer(self, stream: str, back: int) -> None:
        key = self.count - back
        self.seen.answered(stream, key, key)
        if key in self.model[stream]:
            self.model[stream][key] = (*self.model[stream][key][:2], True)

    @rule(stream=st.sampled_from("ab"), level=st.integers(0, 40))
    def inherit(self, stream: str, level: int) -> None:
        found = self.seen.inherit(stream, describe(grey(level)), now=self.now)
        young = {key: case for key, case in self.model[stream].items() if self.now - case[1] <= 20.0}
        self.model[stream] = young
        near = {
            key: abs(own - level)
            for key, (own, at, answered) in young.items()
            if abs(own - level) < NEARNESS and (answered or self.now - at <= 5.0)
        }
        assert (found is None) == (not near)
        if found is not None:
            assert near[found.frame] == min(near.values())
            assert found.answer in (None, found.frame)

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.seen) <= 6


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("shape", [(640, 640), (360, 640)])
def test_a_descriptor_is_small(shape: tuple[int, int]) -> None:
    assert describe(np.zeros((*shape, 3), np.uint8)).nbytes == 4 * GRID * GRID
