"""What a release says of itself, and what distinguishes two of them, as plain values for people. Pure.

Example:
    >>> changed({"release": 1, "input": {"width": 96}}, {"release": 2, "input": {"width": 96}})
    {'release': (1, 2)}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from shared.release.card import Card

LARGE = ("self_test.inputs", "self_test.logits")
"""What a device needs and nobody reads."""
Plain = dict[str, Any]


def plain(card: Card) -> Plain:
    """Return a card as plain values under dotted names, without what nobody reads."""
    return {name: value for name, value in _flat(msgspec.to_builtins(card)) if name not in LARGE}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two releases' plain values, by dotted name; None where one of them does not have it."""
    old, new = dict(_flat(before)), dict(_flat(after))
    names = [*old, *(name for name in new if name not in old)]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def lines(values: Mapping[str, Any]) -> Iterator[str]:
    """Give a release's values as lines; a curve is told by its length."""
    for name, value in values.items():
        if value not in (None, [], ""):
            yield f"{name:>28}  {words(value)}"


def words(value: Any) -> str:
    """Return a value in words: six digits of a number, at most eight entries of a list, a table by its rows."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], dict):
            return f"{len(value)} points"
        shown = ", ".join(words(one) for one in value[:8])
        return shown if len(value) <= 8 else f"{shown}, … ({len(value)} in all)"
    return "none" if value is None else str(value)


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", inner
