"""Stories of labelling: two people agree and a case is frozen for good, they differ and a third is asked, generators stay generators."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from region import labels
from region.labels import GENERATOR, PERSON, Opinion, State, verdict
from shared.errors import AccessError, InputError


def word(person: str, label: int, at: float = 0.0, source: str = PERSON) -> Opinion:
    return Opinion(person=person, label=label, at=at, source=source)


def after(*words: Opinion) -> list[Opinion]:
    kept: list[Opinion] = []
    for one in words:
        kept = labels.said(kept, one, classes=7)
    return kept


def test_one_word_waits_two_that_agree_freeze() -> None:
    assert verdict([]).state is State.OPEN
    assert verdict(after(word("ann", 3))).state is State.WAITING
    frozen = verdict(after(word("ann", 3), word("bob", 3)))
    assert (frozen.state, frozen.label, frozen.source) == (State.FROZEN, 3, PERSON)


def test_disagreement_asks_a_third_who_settles_it() -> None:
    disputed = after(word("ann", 3), word("bob", 4))
    assert verdict(disputed).state is State.DISPUTED
    assert labels.asks(disputed, "cid")
    assert not labels.asks(disputed, "ann")
    settled = labels.said(disputed, word("cid", 4), classes=7)
    assert verdict(settled).label == 4
    assert not labels.asks(settled, "dan")


def test_nobody_agrees_with_themselves() -> None:
    assert verdict(after(word("ann", 3), word("Ann", 3))).state is State.WAITING
    assert verdict(after(word("ann", 3), word("ann", 5))).state is State.WAITING


def test_a_word_may_be_changed_until_the_case_is_frozen() -> None:
    words = after(word("ann", 3), word("bob", 4), word("ann", 4))
    assert verdict(words).label == 4
    for person in ("ann", "cid"):
        with pytest.raises(AccessError, match="frozen"):
            labels.said(words, word(person, 3), classes=7)


def test_a_generator_is_told_from_people() -> None:
    mixed = verdict(after(word("ann", 3), word("gen-1", 3, source=GENERATOR)))
    assert (mixed.state, mixed.source) == (State.FROZEN, GENERATOR)
    with pytest.raises(AccessError, match="in person"):
        labels.said(after(word("ann", 3)), word("ann", 2, source=GENERATOR), classes=7)
    assert verdict(after(word("ann", 3, source=GENERATOR), word("ann", 2))).state is State.WAITING


@pytest.mark.parametrize(("person", "label"), [("ann", 7), ("ann", -1), ("", 1), ("a\nb", 1), ("x" * 65, 1)])
def test_what_cannot_be_a_word_is_refused(person: str, label: int) -> None:
    with pytest.raises(InputError):
        labels.said([], word(person, label), classes=7)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2), st.sampled_from([PERSON, GENERATOR])), max_size=12))
def test_whatever_is_said_a_case_is_frozen_by_two_who_agree_and_stays_so(said: list[tuple[str, int, str]]) -> None:
    words: list[Opinion] = []
    frozen = None
    for at, (person, label, source) in enumerate(said):
        before = words
        try:
            words = labels.said(words, word(person, label, float(at), source), classes=3)
        except AccessError:
            words = before
        found = verdict(words)
        assert len({one.person for one in words}) == len(words)
        if frozen is not None:
            assert found == frozen
        if found.state is State.FROZEN:
            frozen = found
            assert len({one.person for one in words if one.label == found.label}) == labels.AGREEING
