"""The sequential test on audit agreement: how often it is wrong, how soon it is right, and what it does with odd counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.agreement import Evidence, Pair, Rule, evidence, weigh

RULE = Rule()
BEFORE = 0.93


def watched(
    loss: float, *, runs: int, audits: int, every: int, before: int = 200, devices: int = 1, rule: Rule = RULE, seed: int = 1
) -> list[str]:
    """Watch simulated releases, looking again and again until the test decides: `worse`, `sound` or nothing, with the audits it took."""
    random = np.random.default_rng(seed)
    stop, passed = -np.log(rule.false_stop), -np.log(rule.missed)
    ends = []
    for _ in range(runs):
        counts = np.zeros((devices, 4))
        counts[:, 0] = random.binomial(before, BEFORE, devices)
        counts[:, 1] = before - counts[:, 0]
        end = "nothing"
        for seen in range(every, audits + 1, every):
            agreed = random.binomial(every, BEFORE - loss, devices)
            counts[:, 2] += agreed
            counts[:, 3] += every - agreed
            if evidence(counts, rule.tolerated, worse=True) >= stop:
                end = f"worse {seen * devices}"
            elif evidence(counts, rule.excluded, worse=False) >= passed:
                end = f"sound {seen * devices}"
            if end != "nothing":
                break
        ends.append(end)
    return ends


def kinds(ends: list[str]) -> dict[str, int]:
    return {kind: sum(end.startswith(kind) for end in ends) for kind in ("worse", "sound", "nothing")}


def quantile(ends: list[str], kind: str, share: float) -> int:
    return sorted(int(end.split()[1]) if end.startswith(kind) else 10**6 for end in ends)[int(share * len(ends))]


def test_a_release_that_loses_no_more_than_tolerated_is_hardly_ever_stopped() -> None:
    """Looked at after every fifth sample, for ever: at the very edge of what is tolerated, where a false stop is likeliest."""
    forever = Rule(excluded=0.99)
    ends = watched(RULE.tolerated, runs=150, audits=250, every=5, rule=forever)
    assert kinds(ends)["worse"] <= 4  # of 150; more than 4 has a probability of 2 % were the rate its bound of 1 %
    assert kinds(watched(0.0, runs=80, audits=200, every=5, rule=forever, seed=2))["worse"] == 0


def test_a_loss_of_thirty_points_is_found_within_a_hundred_samples_mostly_forty() -> None:
    ends = watched(0.30, runs=100, audits=300, every=4)
    assert kinds(ends)["sound"] == 0
    assert quantile(ends, "worse", 0.5) <= 48
    assert quantile(ends, "worse", 0.9) <= 120
    assert kinds(ends)["worse"] >= 99


def test_a_release_as_good_as_before_is_called_sound_and_one_at_the_excluded_loss_hardly_ever() -> None:
    ends = watched(0.0, runs=40, audits=400, every=16)
    assert kinds(ends)["sound"] >= 37
    assert quantile(ends, "sound", 0.5) <= 128
    assert kinds(watched(RULE.excluded, runs=40, audits=320, every=16))["sound"] <= 5  # at most 5 % by the bound
    quick = watched(0.0, runs=60, audits=200, every=4, rule=Rule(excluded=0.3))
    assert quantile(quick, "sound", 0.5) <= 40


def test_devices_of_different_quality_are_compared_with_themselves() -> None:
    """A poor device and a good one; the new release runs mostly on the poor one. Pooled counts would show a fall of 20 points."""
    pairs = [
        Pair(before=100, before_agreed=60, after=300, after_agreed=183),
        Pair(before=300, before_agreed=285, after=40, after_agreed=38),
    ]
    found = weigh(pairs, RULE)
    assert not found.worse
    assert abs(found.loss) < 0.02
    fallen = [Pair(before=150, before_agreed=140, after=12, after_agreed=7)] * 4
    assert weigh(fallen, RULE).worse
    assert not weigh(fallen[:1], RULE).worse  # what one device's dozen does not show, four devices' dozens do


def test_samples_that_tell_the_same_count_once() -> None:
    pair = Pair(before=200, before_agreed=186, after=60, after_agreed=38)
    assert weigh([pair], RULE).worse
    assert not weigh([pair], Rule(together=10)).worse


def test_without_samples_nothing_is_said() -> None:
    assert weigh([], RULE) == weigh([Pair(before=50, before_agreed=50)], RULE) == Evidence()
    alone = weigh([Pair(after=120, after_agreed=116)], RULE)
    assert (alone.worse, alone.sound) == (False, True)  # with nothing to compare with, nearly perfect agreement rules a fall out
    assert not weigh([Pair(after=120, after_agreed=70)], RULE).sound


COUNT = st.integers(0, 400)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(COUNT, COUNT, COUNT, COUNT), min_size=1, max_size=4))
def test_whatever_the_counts_the_interval_and_the_decisions_agree(rows: list[tuple[int, int, int, int]]) -> None:
    pairs = [Pair(before=a + b, before_agreed=a, after=c + d, after_agreed=c) for a, b, c, d in rows]
    found = weigh(pairs, RULE)
    assert -1 <= found.low <= 1
    assert -1 <= found.high <= 1
    assert not (found.worse and found.sound) or found.low <= found.high
    assert found.worse == (found.low >= RULE.tolerated - 1e-9) or abs(found.low - RULE.tolerated) <= 0.005
    assert found.sound == (found.high <= RULE.excluded + 1e-9) or abs(found.high - RULE.excluded) <= 0.005


@pytest.mark.parametrize("loss", [0.0, 0.03, 0.15])
def test_the_evidence_is_an_e_value_whatever_the_share_before(loss: float) -> None:
    """Its mean under the hypothesis is at most 1: summed over every outcome of 12 samples before and 8 after, not simulated."""
    before, after = 12, 8
    for share in (0.5, 0.8, 0.95):
        mean = 0.0
        for a in range(before + 1):
            for c in range(after + 1):
                chance = binomial(before, a, share) * binomial(after, c, share - loss)
                mean += chance * np.exp(evidence(np.array([[a, before - a, c, after - c]], float), loss, worse=True))
        assert mean <= 1.0


def binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)
