"""The backlog, the retention and the keys: pure decisions, checked over many made-up cases."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from region.admission import BatchTimes
from region.batcher import Backlog, Job, Priority
from region.keys import LIFETIME_S, OVERLAP_S, KeyRing
from region.retention import DOWN_TO, Held, to_drop, usefulness
from region.vault import Vault
from shared.wire.announce import verify_announcement
from tests.certificates import Signer, believe

from .region_parts import a_case

CASE = a_case(1)


def job(number: int, priority: Priority = Priority.HARD, deadline: float = float("inf")) -> Job:
    return Job(id=number, device="d", spool=b"", sequence=number, case=CASE, priority=priority, received_at=0.0, deadline=deadline)


@given(st.lists(st.sampled_from(list(Priority)), max_size=80), st.integers(1, 16))
def test_batches_keep_priority_and_order_and_lose_nothing(priorities: list[Priority], largest: int) -> None:
    backlog = Backlog(largest=largest, capacity=1000)
    for number, priority in enumerate(priorities):
        assert backlog.offer(job(number, priority), now=0.0)
    out: list[Job] = []
    while batch := backlog.take(now=0.0):
        assert len(batch) <= largest
        out += batch
    assert [one.id for one in out] == [number for _, number in sorted((p, n) for n, p in enumerate(priorities))]


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([Priority.HARD, Priority.AUDIT])), max_size=60), st.floats(0.001, 0.2))
def test_what_is_taken_can_be_in_time_and_what_is_shed_is_counted(offers: list[tuple[float, Priority]], batch_s: float) -> None:
    backlog = Backlog(largest=4, capacity=20)
    backlog.times.add(batch_s)
    taken = sum(backlog.offer(job(number, priority, deadline), now=0.0) for number, (deadline, priority) in enumerate(offers))
    out, now = [], 0.0
    while len(backlog):
        batch = backlog.take(now=now)
        assert all(one.deadline >= now + batch_s for one in batch)
        out += batch
        now += batch_s
    assert len(out) + backlog.shed == len(offers)
    assert taken <= 20


def test_overload_answers_all_hard_cases_in_time_and_sheds_the_rest() -> None:
    backlog, batch_s, slo = Backlog(largest=10, capacity=10_000), 0.01, 0.1
    backlog.times.add(batch_s)
    in_time = {Priority.HARD: 0, Priority.AUDIT: 0}
    for step in range(200):  # 20 cases a batch time are offered, 10 can be answered; one in ten is hard
        now = step * batch_s
        for number in range(20):
            priority = Priority.HARD if number % 10 == 0 else Priority.AUDIT
            backlog.offer(job(number, priority, now + slo), now=now)
        for one in backlog.take(now=now):
            assert now + batch_s <= one.deadline
            in_time[one.priority] += 1
    assert in_time[Priority.HARD] == 2 * 200
    assert sum(in_time.values()) >= 0.99 * 10 * 200


def test_the_wait_follows_the_slow_batches() -> None:
    times = BatchTimes()
    assert times.wait_s(ahead=100, largest=10) == 0.0
    for number in range(64):
        times.add(0.1 if number % 8 == 0 else 0.01)
    assert times.typical_s == 0.1


yes_or_no = st.booleans()
cases = st.builds(
    Held, id=st.integers(0, 10**6), size=st.integers(1, 1000), received_at=st.floats(0, 1000), answered=yes_or_no, is_audit=yes_or_no
)  # fmt: skip


@given(st.lists(cases, max_size=60, unique_by=lambda case: case.id), st.integers(0, 20_000), st.floats(1, 1000))
def test_retention_drops_the_old_then_the_least_useful_and_no_more_than_it_must(held: list[Held], capacity: int, age: float) -> None:
    total, now = sum(case.size for case in held), 1000.0
    gone = to_drop(held, held_bytes=total, capacity_bytes=capacity, max_age_s=age, now=now)
    assert len(set(gone)) == len(gone)
    by_id = {case.id: case for case in held}
    old = {case.id for case in held if now - case.received_at > age}
    assert old <= set(gone)
    left = [case for case in held if case.id not in set(gone)]
    assert sum(case.size for case in left) <= capacity
    extra = [by_id[one] for one in gone if one not in old]
    if extra:
        assert max(map(usefulness, extra)) < min(map(usefulness, left), default=(9, 0.0, 0))
        assert sum(case.size for case in left) + extra[-1].size > DOWN_TO * capacity  # the last one dropped had to go


def test_keys_rotate_with_an_overlap_and_serials_only_rise(tmp_path: Path) -> None:
    signer = Signer("server.region-1")
    vault = Vault(tmp_path / "vault.db")
    vault.start()
    ring = KeyRing(vault, region="region-1", sign=signer.sign, chain=signer.chain)
    start = time.time()
    assert ring.refresh(start)
    assert not ring.refresh(start + 60)
    first = verify_announcement(ring.announcement, verify=believe(signer), region="region-1", now=start, lowest_serial=0)
    later = start + LIFETIME_S - OVERLAP_S + 60
    assert ring.refresh(later)
    second = verify_announcement(ring.announcement, verify=believe(signer), region="region-1", now=later, lowest_serial=first.serial)
    assert second.serial > first.serial
    assert set(ring.private_keys) == {first.key_id, second.key_id}
    restarted = KeyRing(vault, region="region-1", sign=signer.sign, chain=signer.chain)
    restarted.refresh(start + LIFETIME_S + 60)
    assert set(restarted.private_keys) == {second.key_id}
    assert vault.database.rows("SELECT count(*) FROM keys")[0][0] == 1
    vault.stop()
    (tmp_path / "vault.db").unlink()
    for left in tmp_path.glob("vault.db-*"):
        left.unlink()
    vault.start()  # a lost vault must not announce a lower serial
    again = KeyRing(vault, region="region-1", sign=signer.sign, chain=signer.chain)
    again.refresh(start)  # and its clock was ahead when the last key was made
    fresh = verify_announcement(again.announcement, verify=believe(signer), region="region-1", now=start, lowest_serial=second.serial)
    assert fresh.vault_id == vault.vault_id != second.vault_id
    assert fresh.serial > second.serial
    vault.stop()
