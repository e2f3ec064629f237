"""What people say of a case, and when that settles it. Pure.

Rules, in order:
1. A person has one word per case and may change it until the case is frozen.
2. Two different people who say the same freeze the case: it has a human label, for good.
3. While they differ, one more person is asked.
4. What a generator said in the place of people is marked so; it never replaces a person's word, and a case is frozen by people only
   when the two who agree are people.

Example:
    >>> first, second = (Opinion(person=name, label=3, at=1.0, source=PERSON) for name in ("ann", "bob"))
    >>> verdict([first]).state, verdict([first, second]).state
    (<State.WAITING: 'waiting'>, <State.FROZEN: 'frozen'>)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec

from shared.errors import AccessError, InputError

AGREEING = 2
"""How many different people must say the same."""
PERSON, GENERATOR = "person", "generator"
LONGEST_PERSON = 64


class State(Enum):
    """How far people have come with a case."""

    OPEN = "open"
    WAITING = "waiting"
    DISPUTED = "disputed"
    FROZEN = "frozen"


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """One person's word: `label` is a class, `at` Unix seconds, `source` says whether a person or a generator spoke."""

    person: str
    label: int
    at: float
    source: str = PERSON


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the words come to; `label` and `source` only when the case is frozen."""

    state: State
    label: int | None = None
    source: str = ""


def verdict(opinions: Sequence[Opinion]) -> Verdict:
    """Return what these words come to; of two labels with two voices each (never in order) the one complete first."""
    voices: dict[int, dict[str, str]] = {}
    for opinion in opinions:
        agreeing = voices.setdefault(opinion.label, {})
        agreeing[opinion.person.casefold()] = opinion.source
        if len(agreeing) == AGREEING:
            return Verdict(state=State.FROZEN, label=opinion.label, source=_weakest(agreeing))
    if not voices:
        return Verdict(state=State.OPEN)
    return Verdict(state=State.WAITING if len(voices) == 1 else State.DISPUTED)


def said(opinions: Sequence[Opinion], opinion: Opinion, *, classes: int) -> list[Opinion]:
    """Return the words after one more: the same person's earlier word is replaced.

    Args:
        opinions: what was said so far, oldest first.
        opinion: the new word.
        classes: how many classes there are.

    Raises:
        InputError: there is no such class, or the person's name cannot be used.
        AccessError: the case is frozen, or a generator speaks where this person has.
    """
    if not 0 <= opinion.label < classes:
        raise InputError(f"there is no class {opinion.label}.", f"Classes are 0 to {classes - 1}.")
    if not 1 <= len(opinion.person) <= LONGEST_PERSON or not opinion.person.isprintable():
        raise InputError("the person's name cannot be used.", f"Give 1 to {LONGEST_PERSON} printable characters.")
    if verdict(opinions).state is State.FROZEN:
        raise AccessError("the case is frozen: two people agreed on it.", "Its label does not change any more.")
    earlier = next((one for one in opinions if one.person.casefold() == opinion.person.casefold()), None)
    if earlier is not None and earlier.source == PERSON and opinion.source != PERSON:
        raise AccessError(f"{opinion.person} has labelled this case in person.", "A generated label does not replace that.")
    return [one for one in opinions if one is not earlier] + [opinion]


def asks(opinions: Sequence[Opinion], person: str) -> bool:
    """Whether a case still asks for this person's word."""
    return verdict(opinions).state is not State.FROZEN and all(one.person.casefold() != person.casefold() for one in opinions)


def _weakest(voices: Mapping[str, str]) -> str:
    return PERSON if all(source == PERSON for source in voices.values()) else GENERATOR
