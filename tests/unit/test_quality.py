"""Along the card's table: which codec and quality a link of some speed gets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.release.card import QualityPoint
from shared.vision.quality import LARGEST_LOSS, EncodeTimes, LinkLoad, choose
from tests.examples import examples


def point(codec: str, quality: int, size: float, accuracy: float) -> QualityPoint:
    return QualityPoint(codec=codec, quality=quality, bytes_mean=size, expert_accuracy=accuracy)


CHOICE = point("webp", 80, 30_000, 0.960)
SMALLER, TOO_BAD = point("webp", 50, 18_000, 0.955), point("webp", 20, 5_000, 0.90)
QUICK = point("jpeg", 90, 45_000, 0.962)
TABLE = (CHOICE, SMALLER, TOO_BAD, QUICK)
SECONDS = {"webp": 0.040, "jpeg": 0.003}


def test_without_a_rate_the_card_s_choice() -> None:
    assert choose(TABLE, LinkLoad(backlog_bytes=10**9), SECONDS) is CHOICE


def test_a_link_that_keeps_up_gets_the_card_s_choice() -> None:
    assert choose(TABLE, LinkLoad(rate_bytes_per_s=12.5e6), SECONDS) is CHOICE
    assert choose(TABLE, LinkLoad(rate_bytes_per_s=125e3), SECONDS) is CHOICE


def test_a_link_that_is_behind_gets_smaller_pictures_but_no_bad_ones() -> None:
    assert choose(TABLE, LinkLoad(rate_bytes_per_s=125e3, backlog_bytes=10**6), SECONDS) is SMALLER
    assert choose(TABLE, LinkLoad(rate_bytes_per_s=125e3, backlog_bytes=50_000), SECONDS) is CHOICE, "it leaves within a second"


def test_a_processor_that_is_behind_gets_the_quick_codec() -> None:
    assert choose(TABLE, LinkLoad(rate_bytes_per_s=12.5e6, backlog_bytes=10**8), SECONDS) is QUICK


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(st.builds(point, st.sampled_from(["webp", "jpeg"]), st.just(80), st.floats(1, 1e6), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0, 1e9),
    st.integers(0, 10**12),
    st.dictionaries(st.sampled_from(["webp", "jpeg"]), st.floats(0, 1)),
)
def test_the_expert_never_loses_more_than_agreed(points: list[QualityPoint], rate: float, waiting: int, seconds: dict[str, float]) -> None:
    chosen = choose(points, LinkLoad(rate_bytes_per_s=rate, backlog_bytes=waiting), seconds)
    assert chosen in points
    assert chosen.expert_accuracy >= points[0].expert_accuracy - LARGEST_LOSS


def test_an_empty_table_is_an_error() -> None:
    with pytest.raises(InputError):
        choose((), LinkLoad())


def test_one_slow_encoding_says_little() -> None:
    times = EncodeTimes()
    for seconds in [0.01] * 10 + [5.0]:
        times.note("webp", seconds)
    assert 0.01 <= times.seconds["webp"] < 0.02
