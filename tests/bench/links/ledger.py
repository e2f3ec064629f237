"""What was accepted, and what became of it: the account at the end of a run with faults. Pure.

A case is accepted when its device's spool has called it durable. At the end it must lie in the vault once. Two things take cases away
that no link can give back, and only these excuse it: its spool was destroyed while it still waited there, or the vault it lay in
was replaced by an older backup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

Key = tuple[str, int]
"""The spool's id in hexadecimal, and the sequence."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome, in cases."""

    accepted: int
    stored: int
    lost: int
    double_effects: int
    went_with_a_spool: int
    went_with_a_vault: int
    missing: tuple[Key, ...] = ()


def settle(
    accepted: Mapping[Key, str],
    *,
    stored: Sequence[tuple[Key, str]],
    waiting: Iterable[Key],
    destroyed: Iterable[Key],
    replaced: Iterable[Key],
) -> Account:
    """Account for every accepted case.

    Args:
        accepted: the unit of every case that a device's spool called durable; units are unique.
        stored: key and unit of every row of the vault.
        waiting: what lies in the spools still.
        destroyed: what lay in spools when they were destroyed.
        replaced: what lay in vaults when they were replaced by older ones.
    """
    keys, units = Counter(key for key, _ in stored), Counter(unit for _, unit in stored)
    here = keys.keys() | set(waiting)
    with_spool = {key for key in accepted if key not in here} & set(destroyed)
    with_vault = ({key for key in accepted if key not in here} & set(replaced)) - with_spool
    missing = accepted.keys() - here - with_spool - with_vault
    doubled_keys = sum(count - 1 for count in keys.values())
    doubled_units = sum(count - 1 for count in units.values())
    return Account(
        accepted=len(accepted),
        stored=len(keys),
        lost=len(missing),
        double_effects=max(doubled_keys, doubled_units),
        went_with_a_spool=len(with_spool),
        went_with_a_vault=len(with_vault),
        missing=tuple(sorted(missing))[:20],
    )


def parse_journal(text: str) -> dict[Key, str]:
    """Return what a device's journal says it accepted: lines of spool, sequence and unit; a line torn by a kill is left out."""
    lines = [line.split(" ") for line in text.split("\n")[:-1]]
    return {(words[0], int(words[1])): words[2] for words in lines if len(words) == 3}
