"""A lost case is found one by one, also where totals would hide it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provisioning.testbed.cases import Verdict, judge


def ranges(numbers: set[int]) -> list[list[int]]:
    return [[number, number] for number in sorted(numbers)]


def spool(spooled: int, waiting: set[int], evicted: int = 0) -> dict[str, object]:
    received = spooled - len(waiting) - evicted
    return {"cases_spooled": spooled, "cases_received": received, "cases_evicted": evicted, "waiting": ranges(waiting)}


def test_a_stored_case_whose_receipt_is_on_its_way_hides_no_lost_one() -> None:
    # 2 was lost though it has its receipt; 3 lies in the vault though it still waits: totals agree, the cases do not
    found = judge(spool(3, {3}), {"sequences": {"ab": [[1, 1], [3, 3]]}})
    assert (found.lost, found.stored, found.waiting) == (1, 2, 1)


def test_a_region_that_has_nothing_of_a_device_lost_all_it_acknowledged() -> None:
    assert judge(spool(4, set()), {}).lost == 4


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_lost_are_exactly_those_in_neither_file(waiting: set[int], gone: set[int], early: set[int]) -> None:
    everything = set(range(1, 41))
    lost = gone - waiting
    stored = (everything - waiting - lost) | (early & waiting)
    found = judge(spool(40, waiting), {"sequences": {"ab": ranges(stored)}})
    assert found.lost == len(lost)
    assert found + Verdict() == found
