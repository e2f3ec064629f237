"""The live state over restarts: whatever happened before the kill, nothing looks better after it than it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import BudgetSettings
from edge.liveaudits import LiveAudits
from edge.livefile import (
    MOST_WAITING,
    MOST_WAITING_BYTES,
    AuditMemory,
    Drawn,
    LiveFile,
    WaitingSample,
    decode,
    drawn_bytes,
    drawn_from,
    encode,
    fitting,
    recollect,
)
from edge.livekeeper import LiveKeeper
from edge.model import LoadedModel
from edge.spending import Spending, SpendingMemory
from shared import clock
from shared.deferral.budget import HORIZON_S
from shared.deferral.live import LiveRisk
from shared.deferral.livememory import LiveMemory
from shared.errors import StorageError
from shared.wire.messages import Answer, Boxes, Prediction
from tests.waiting import until

from .edge_parts import frame, load, write_release
from .pipeline_parts import SURE_RED, UNSURE, Device

SPOOL = bytes(16)
# what becomes of a sample: answered (with its score, whether they differ, whether it was kept), lost, or waited for
FATE = st.tuples(st.sampled_from(["answered", "lost", "waits"]), st.floats(-1, 5), st.booleans(), st.booleans())


def live_risk() -> LiveRisk:
    return LiveRisk.of(threshold=2.0, epsilon=0.5, follows=True)  # a window of 20: stretches turn often


def run(live: LiveRisk, fates: list[tuple[str, float, bool, bool]]) -> None:
    for fate, score, differs, kept in fates:
        number = live.draw(0.0)
        if fate == "answered":
            live.answered(number, score=score, differs=differs, kept=kept)
        elif fate == "lost":
            live.lost(number)


def over(memory: LiveMemory) -> LiveMemory:
    """As it comes out of a file."""
    state = LiveFile(
        life=bytes(16),
        written_at=5.0,
        is_clean=False,
        audits=AuditMemory(release=1, model="m", spool_id=SPOOL, live=memory, waiting=()),
        spending=SpendingMemory(hard=1.5),
    )
    found = decode(encode(state))
    assert found == state
    return found.audits.live


@given(st.lists(FATE, max_size=90), st.lists(FATE, max_size=30))
@settings(max_examples=60)
def test_going_on_from_a_memory_is_as_if_there_had_been_no_restart(before: list, after: list) -> None:  # type: ignore[type-arg]
    whole, first, second = live_risk(), live_risk(), live_risk()
    run(whole, before + after)
    run(first, before)
    memory = over(first.memory(0.0))
    assert second.fits(memory)
    second.recall(memory, now=100.0, away_s=0.0, drawn=memory.drawn)
    run(second, after)
    assert second.state(100.0) == whole.state(0.0)
    assert second.threshold == whole.threshold


@given(st.lists(FATE, max_size=60), st.lists(FATE, max_size=40))
@settings(max_examples=60)
def test_samples_drawn_after_the_memory_are_missing_whatever_they_would_have_said(before: list, lost: list) -> None:  # type: ignore[type-arg]
    truth, kept, again = live_risk(), live_risk(), live_risk()
    run(truth, before)
    run(kept, before)
    memory = over(kept.memory(0.0))
    run(truth, lost)  # what the killed process knew, and nobody wrote down
    again.recall(memory, now=0.0, away_s=0.0, drawn=truth.drawn)
    assert again.drawn == truth.drawn
    starved = live_risk()
    run(starved, [*before, *(("lost", 0.0, False, False) for _ in lost)])
    assert again.state(0.0) == starved.state(0.0)
    if again.state(0.0).audited + again.state(0.0).missing == truth.state(0.0).audited + truth.state(0.0).missing:
        assert again.state(0.0).high >= truth.state(0.0).high - 1e-9, "the same stretch, and its missing samples at their worst"


@given(st.binary(max_size=400), st.integers(0, 10_000), st.integers(1, 255))
def test_bytes_that_are_no_state_are_told_and_every_changed_byte_is_noticed(garbage: bytes, place: int, change: int) -> None:
    with pytest.raises(StorageError):
        decode(garbage)
    live = live_risk()
    run(live, [("answered", 1.0, True, True)] * 3)
    waiting = (
        WaitingSample(sequence=7, number=2, prediction=Prediction(index=1, probabilities=(0.5, 0.5)), score=1.0, kept=True, owed=False),
    )
    audits = AuditMemory(release=1, model="m", spool_id=SPOOL, live=live.memory(0.0), waiting=waiting)
    data = bytearray(encode(LiveFile(life=bytes(16), written_at=1.0, is_clean=True, audits=audits, spending=SpendingMemory())))
    assert decode(bytes(data)).audits.waiting == waiting
    data[place % len(data)] ^= change
    with pytest.raises(StorageError, match=r"damaged|format"):
        decode(bytes(data))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**63), st.integers(0, 27), st.integers(1, 255))
def test_a_damaged_count_is_no_count(life: bytes, count: int, place: int, change: int) -> None:
    data = bytearray(drawn_bytes(Drawn(life=life, count=count)))
    assert drawn_from(bytes(data)) == Drawn(life=life, count=count)
    data[place] ^= change
    assert drawn_from(bytes(data)) is None
    assert drawn_from(bytes(data[:-1])) is None


def test_a_state_whose_later_samples_nobody_counted_is_of_no_use_unless_the_agent_ended_in_order() -> None:
    live = live_risk()
    run(live, [("answered", 3.0, False, True)] * 5)
    audits = AuditMemory(release=1, model="m", spool_id=SPOOL, live=live.memory(0.0), waiting=())
    killed = LiveFile(life=bytes(16), written_at=10.0, is_clean=False, audits=audits, spending=SpendingMemory())
    ended = msgspec.structs.replace(killed, is_clean=True)
    assert recollect(killed, Drawn(life=bytes(16), count=9), wall=70.0).drawn == 9
    assert recollect(killed, Drawn(life=bytes(16), count=9), wall=3.0).away_s == 0.0, "a clock that was set back brings nothing"
    assert recollect(ended, None, wall=70.0).drawn == 5
    for count in (None, Drawn(life=b"x" * 16, count=9), Drawn(life=bytes(16), count=4)):
        with pytest.raises(StorageError, match="not known"):
            recollect(killed, count, wall=70.0)


@given(st.lists(st.integers(1, 120_000), max_size=600))
@settings(max_examples=20)
def test_as_many_waiting_samples_are_kept_as_fit_and_they_are_the_newest(sizes: list[int]) -> None:
    def sample(number: int, size: int) -> WaitingSample:
        said = Prediction(index=0, probabilities=(1.0,), boxes=Boxes(places=bytes(size), scores=b"", classes=b""))
        return WaitingSample(sequence=number, number=number, prediction=said, score=1.0, kept=True, owed=False)

    kept = fitting(sample(number, size) for number, size in reversed(list(enumerate(sizes))))
    assert [one.sequence for one in kept] == list(range(len(sizes)))[len(sizes) - len(kept) :]
    assert len(kept) <= MOST_WAITING
    assert sum(len(one.prediction.boxes.places) for one in kept if one.prediction.boxes) <= MOST_WAITING_BYTES


def keeper(folder: Path, audits: LiveAudits, spending: Spending, *, wall: float = 1000.0, spool: bytes = SPOOL) -> LiveKeeper:
    return LiveKeeper(
        folder, audits=audits, spending=spending, spool_id=lambda: spool, monotonic=clock.monotonic, wall=lambda: wall, every_s=0.02
    )


def see(device: Device, model: LoadedModel, numbers: range) -> None:
    for number in numbers:
        device.inference.step(model, [frame(number, SURE_RED if number % 2 else UNSURE)])
    until(lambda: len(device.cases) >= len(numbers), "the cases")


def answer(device: Device, sequence: int, *, differs: bool) -> None:
    index = device.cases[sequence - 1].prediction.index
    said = Prediction(index=1 - index if differs else index, probabilities=(0.5, 0.5))
    device.audits.answer(Answer(spool_id=SPOOL, sequence=sequence, prediction=said, expert_release=1, at=0.0))


def test_answers_to_samples_of_before_the_restart_still_count(tmp_path: Path) -> None:
    model = load(write_release(tmp_path / "r1", release=1))
    epsilon = model.card.calibration.epsilon if model.card.calibration else None
    with Device(tmp_path, audit_share=1.0) as device:
        kept = keeper(tmp_path / "state", device.audits, device.spending)
        (tmp_path / "state").mkdir()
        kept.start()
        see(device, model, range(6))
        for sequence in (1, 2, 3):
            answer(device, sequence, differs=sequence == 2)
        until(lambda: device.audits.state(0.0).audited == 3, "three answers")
        kept.stop()
        before = device.audits.state(clock.monotonic())
        late = device.cases[3].prediction.index
    with Device(tmp_path / "again", audit_share=1.0) as device:
        kept = keeper(tmp_path / "state", device.audits, device.spending)
        kept.start()
        device.audits.adopt(1, threshold=1.0, epsilon=epsilon, model=model.card.onnx_sha256, now=clock.monotonic())
        after = device.audits.state(clock.monotonic())
        assert (after.audited, after.risk, after.pending, after.missing) == (before.audited, before.risk, 3, 0)
        assert kept.status() == {"begun_anew": "", "failing": ""}
        said = Prediction(index=1 - late, probabilities=(0.5, 0.5))
        device.audits.answer(Answer(spool_id=SPOOL, sequence=4, prediction=said, expert_release=1, at=0.0))
        assert device.audits.state(clock.monotonic()).audited == 4
        kept.stop()
    other = LiveAudits()
    kept = keeper(tmp_path / "state", other, Spending(BudgetSettings()), spool=b"another spool...")
    kept.start()
    other.adopt(1, threshold=1.0, epsilon=epsilon, model=model.card.onnx_sha256, now=clock.monotonic())
    assert (other.state(clock.monotonic()).pending, other.state(clock.monotonic()).missing) == (0, 2), "their sequences mean others now"
    kept.stop()


@pytest.mark.parametrize("spoil", ["damage", "format", "release", "rule", "count"])
def test_what_cannot_be_gone_on_from_is_told_and_begun_anew(tmp_path: Path, spoil: str) -> None:
    first = LiveAudits(epsilon=0.1, follows=True)
    kept = keeper(tmp_path, first, Spending(BudgetSettings()))
    kept.start()
    first.adopt(3, threshold=1.0, epsilon=None, model="m", now=0.0)
    until((tmp_path / "live.state").exists, "a state")
    if spoil != "count":
        kept.stop()
    data = (tmp_path / "live.state").read_bytes()
    if spoil == "damage":
        (tmp_path / "live.state").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif spoil == "format":
        (tmp_path / "live.state").write_bytes(b"terrace live 9\n" + data)
    elif spoil == "count":
        kept.stop()
        (tmp_path / "live.state").write_bytes(data)  # as a kill leaves it
        (tmp_path / "live.drawn").write_bytes(b"?")
    again = LiveAudits(epsilon=0.2 if spoil == "rule" else 0.1, follows=True)
    second = keeper(tmp_path, again, Spending(BudgetSettings()))
    second.start()
    again.adopt(4 if spoil == "release" else 3, threshold=1.0, epsilon=None, model="m", now=0.0)
    reasons = {"damage": "damaged", "format": "format", "release": "release 3", "rule": "epsilon", "count": "not known"}
    assert reasons[spoil] in second.status()["begun_anew"]
    assert again.state(0.0).audited == 0
    second.stop()
    third = keeper(tmp_path, LiveAudits(), Spending(BudgetSettings()))
    third.start()
    assert third.status()["begun_anew"] == "", "the next writing replaced it"
    third.stop()


def test_a_first_model_does_not_cost_the_release_its_memory(tmp_path: Path) -> None:
    audits = LiveAudits()
    kept = keeper(tmp_path, audits, Spending(BudgetSettings()))
    kept.start()
    audits.adopt(7, threshold=1.0, epsilon=None, model="seven", now=0.0)
    kept.stop()
    life = decode((tmp_path / "live.state").read_bytes()).life
    audits = LiveAudits()
    kept = keeper(tmp_path, audits, Spending(BudgetSettings()))
    kept.start()
    audits.adopt(1, threshold=0.5, epsilon=None, model="one", now=0.0)
    audits.adopt(7, threshold=1.0, epsilon=None, model="seven", now=0.0)
    assert audits.memory(0.0)[0] == life
    assert kept.status()["begun_anew"] == ""
    kept.stop()


def test_bytes_of_a_budget_are_not_spent_twice(tmp_path: Path) -> None:
    del tmp_path
    settings_of = BudgetSettings(bytes_per_day=86_400 * 1000.0, audit_bytes_per_s=10.0)
    first = Spending(settings_of)
    kept = first.memory(0.0)
    assert kept == SpendingMemory(hard=1000.0 * HORIZON_S, audit=10.0 * HORIZON_S)
    poor = SpendingMemory(hard=-500.0, audit=5.0)
    for is_clean, hard in [(True, 3_600_000.0 - 500.0), (False, 1000.0 * HORIZON_S)]:
        again = Spending(settings_of)
        again.recall(poor, away_s=3600.0, is_clean=is_clean)
        assert again.memory(0.0).hard == pytest.approx(hard)
    again = Spending(settings_of)
    again.recall(poor, away_s=0.0, is_clean=False)
    assert again.memory(0.0) == poor, "debts outlive a kill"
