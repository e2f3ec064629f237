"""A rollout's documents and cohorts, what its votes lead to, and the operator's commands over a real repository."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cloud import inspection, rollout, verdict
from cloud.agreement import Evidence
from cloud.clusters import Clusters, Compared
from cloud.publish import Repository
from cloud.release_cli import app
from cloud.rollout_record import compared_by
from cloud.rollout_states import ACTS, OPEN, TABLE, Event, State
from cloud.verdict import Quorum, Vote
from shared.errors import InputError, TrustError
from shared.release.desired import Desired, DesiredModel, wanted
from shared.wire.reports import DeviceSummary, ReleasePair
from tests.unit import releases

FIRST, SECOND = releases.model(1), releases.model(1, moved=0.01)
FLEET = [f"edge-{number}.region-{number % 2}" for number in range(40)]


def started(share: float = 0.25) -> Desired:
    before = rollout.follow(None, fleet="acme", family="student", release=1, role="manual")
    return rollout.follow(before, fleet="acme", family="student", release=2, role="auto", deltas=(1,), salt="s", share=share)


def cohort(desired: Desired) -> list[str]:
    chosen = {device: wanted(desired.models["student"], device) for device in FLEET}
    return [device for device, choice in chosen.items() if choice is not None and choice.release == 2]


def judge(
    words: list[str],
    *,
    state: State = State.CANARY,
    share: float = 0.25,
    is_over: bool = False,
    is_young: bool = False,
    evidence: Evidence | None = None,
    **quorum: object,
) -> Event | None:
    votes = {f"edge-{number}.region-{number % 2}": Vote(word) for number, word in enumerate(words)}
    asked = msgspec.convert(quorum, Quorum)
    found = verdict.judge(state, share, votes, evidence or SOUND, is_young=is_young, is_over=is_over, quorum=asked, excluded=0.15)
    assert found.reason
    return found.event


SOUND, WORSE, UNSURE = Evidence(audits=90, sound=True), Evidence(audits=40, loss=0.3, worse=True), Evidence(audits=9)
GOOD = ["committed"] * 6


def test_a_cohort_only_grows() -> None:
    before = started()
    first, second = set(cohort(before)), set(cohort(rollout.widen(before, "student", 0.5)))
    assert 0 < len(first) < len(second) < len(FLEET)
    assert first < second
    with pytest.raises(TrustError):
        rollout.widen(before, "student", 0.2)


def test_the_first_cohort_holds_at_least_one_device_and_a_quorum_where_the_fleet_is_large_enough() -> None:
    quorum = {"minimum_devices": 5, "minimum_regions": 2}
    for salt in "abcdefgh":
        few, many = FLEET[:4], [f"edge-{n}.region-{n % 2}" for n in range(1000)]
        small = rollout.opening_share(few, salt, 0.05, **quorum)
        assert len(rollout.cohort(few, salt, small)) == 1
        first = rollout.cohort(FLEET, salt, rollout.opening_share(FLEET, salt, 0.05, **quorum))
        assert 5 <= len(first) <= 10
        assert len({device.split(".")[1] for device in first}) == 2
        assert len(rollout.cohort(many, salt, rollout.opening_share(many, salt, 0.05, **quorum))) == 50
        second = rollout.wider_share(few, salt, small)
        assert second == 1.0
        assert len(rollout.cohort(FLEET, salt, rollout.wider_share(FLEET, salt, 0.05))) == 10
    assert rollout.opening_share([], "a", 0.05, **quorum) == 0.05
    assert rollout.wider_share([], "a", 0.05) == 1.0


def test_what_is_still_on_trial_is_never_gone_back_to() -> None:
    on_trial = started(0.25)
    after = rollout.follow(on_trial, fleet="acme", family="student", release=3, role="auto", salt="t", share=0.1).models["student"]
    assert (after.previous, after.previous_role) == (1, "manual")
    assert rollout.proven(rollout.widen(on_trial, "student", 1.0).models["student"]) == (2, "auto")


def test_all_for_it_and_a_loss_ruled_out_widens_and_ends() -> None:
    assert judge(GOOD) is Event.WIDEN
    assert judge(GOOD, state=State.WIDENING, share=1.0) is Event.FINISH
    assert judge(GOOD, evidence=UNSURE) is None
    assert judge([*GOOD, "probation"]) is None


def test_a_twentieth_of_the_fleet_is_exceeded_only_where_a_small_loss_is_ruled_out_too() -> None:
    unsure = msgspec.structs.replace(SOUND, clusters=Clusters(devices=12, compared=900, loss=0.01, low=-0.02, high=0.04))
    assert judge(GOOD, evidence=unsure, share=0.04) is Event.WIDEN
    assert judge(GOOD, evidence=unsure, share=0.05) is None
    assert judge(GOOD, evidence=unsure, share=0.05, is_over=True) is Event.ASK
    assert judge(GOOD, evidence=unsure, share=0.05, is_over=True, ask_when_small=False) is Event.WIDEN
    sound = msgspec.structs.replace(SOUND, clusters=Clusters(devices=500, compared=9000, low=-0.01, high=0.01, sound=True))
    assert judge(GOOD, evidence=sound, share=0.05) is Event.WIDEN
    assert judge(GOOD, evidence=sound, share=0.05, is_young=True) is None


@pytest.mark.parametrize("state", OPEN)
def test_a_small_loss_across_the_devices_halts_also_a_young_stage(state: State) -> None:
    worse = msgspec.structs.replace(SOUND, clusters=Clusters(devices=500, compared=9000, loss=0.03, low=0.02, high=0.04, worse=True))
    assert judge(GOOD, evidence=worse, share=0.05, state=state, is_young=True) is Event.HALT


def test_what_a_device_says_it_compared_counts_for_that_release_and_only_where_it_adds_up() -> None:
    said = DeviceSummary(name="edge-1", seen_at=1.0, compared=ReleasePair(release=7, samples=40, lost=5, won=3))
    assert compared_by(said, 7) == Compared(compared=40, lost=5, won=3)
    assert compared_by(said, 6) == Compared()
    assert compared_by(msgspec.structs.replace(said, compared=ReleasePair(release=7, samples=40, lost=5, won=36)), 7) == Compared()


def test_silence_waits_and_then_counts_against() -> None:
    some = [*GOOD, "waiting"]
    assert judge(some) is None
    assert judge(some, is_over=True) is Event.HALT
    assert judge(["committed"] * 19 + ["probation"], is_over=True) is Event.WIDEN


@pytest.mark.parametrize("word", ["fallen_back", "refused"])
@pytest.mark.parametrize("state", OPEN)
def test_words_against_halt_at_once(word: str, state: State) -> None:
    assert judge(["waiting"] * 5 + [word], state=state) is Event.HALT


@pytest.mark.parametrize("state", OPEN)
def test_a_worse_release_halts_before_any_vote_and_asks_nobody(state: State) -> None:
    assert judge(["probation"], state=state, evidence=WORSE) is Event.HALT
    assert judge(GOOD, state=state, evidence=WORSE, is_over=True) is Event.HALT


def test_a_small_fleet_asks_an_operator() -> None:
    assert judge(GOOD, minimum_devices=99) is Event.ASK
    assert judge(GOOD, minimum_regions=3) is Event.ASK
    assert judge(GOOD, minimum_regions=3, ask_when_small=False) is Event.WIDEN
    assert judge(GOOD, minimum_devices=99, state=State.ASKING) is None
    assert judge([]) is None
    assert judge([], is_over=True) is Event.ASK


def test_too_few_audit_samples_ask_at_the_deadline() -> None:
    assert judge(GOOD, evidence=UNSURE, is_over=True) is Event.ASK
    assert judge(GOOD, evidence=UNSURE, is_over=True, ask_when_small=False) is Event.WIDEN
    assert judge(GOOD, evidence=UNSURE, is_over=True, share=1.0, state=State.WIDENING) is Event.FINISH


def test_a_device_s_last_word_is_its_vote() -> None:
    said = DeviceSummary(name="edge-1.region-1", seen_at=1.0)
    cases = (
        ({"release": 1}, Vote.WAITING),
        ({"release": 2, "committed": (1,), "update_release": 1, "update_word": "committed"}, Vote.PROBATION),
        ({"release": 2, "committed": (1, 2), "update_release": 2, "update_word": "committed"}, Vote.COMMITTED),
        ({"release": 1, "update_release": 2, "update_word": "fallen_back"}, Vote.FALLEN_BACK),
        ({"release": 1, "update_release": 7, "update_word": "refused"}, Vote.WAITING),
    )
    for fields, vote in cases:
        assert verdict.vote_of(msgspec.structs.replace(said, **fields), 2) is vote


def test_every_open_rollout_can_be_halted_aborted_and_promoted_and_a_closed_one_stays() -> None:
    closed = set(State) - set(OPEN)
    assert not [state for state, _ in TABLE if state in closed]
    assert set(TABLE.values()) == set(State) - {State.CANARY}
    for event in (Event.HALT, Event.ABORT, Event.PROMOTE):
        assert all((state, event) in TABLE for state in OPEN)
    assert set(ACTS) < set(Event)


def test_going_back_is_a_newer_document() -> None:
    desired = started(1.0)
    back = rollout.go_back(desired, "student")
    assert (back.version, back.models["student"].release, back.models["student"].role) == (3, 1, "manual")
    with pytest.raises(TrustError, match="no release"):
        rollout.go_back(back, "student")
    high = rollout.raise_minimum(desired, "student", 2)
    assert high.models["student"].previous == 0
    with pytest.raises(TrustError):
        rollout.go_back(high, "student")
    with pytest.raises(TrustError):
        rollout.raise_minimum(high, "student", 1)
    with pytest.raises(TrustError, match="has no expert"):
        rollout.go_back(desired, "expert")


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    repository = Repository.create(tmp_path / "state" / "repository", tmp_path / "keys")
    releases.add(repository, tmp_path, FIRST, 1)
    releases.add(repository, tmp_path, SECOND, 2, bases=(1,))
    config = tmp_path / "cloud.toml"
    ports = {"regions": "port = 1", "people": "port = 2"}
    sections = {"identity": 'folder = "id"', "foundry": 'seed_set = "seed.npz"', "repository": 'keys = "keys"', **ports}
    text = "".join(f"[{name}]\n{line}\n" for name, line in sections.items())
    config.write_text(f'fleet = "acme"\nstate = "state"\n{text}')
    return config


def command(cloud: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--config", str(cloud)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_operator_rolls_out_widens_and_goes_back(cloud: Path) -> None:
    repository = Repository(cloud.parent / "state" / "repository", cloud.parent / "keys")
    command(cloud, "rollout", "1")
    command(cloud, "rollout", "2", "--share", "0.25")
    model = (repository.desired("acme") or Desired(version=0, fleet="", models={})).models["student"]
    assert (model.release, model.previous, model.deltas, model.cohort_share) == (2, 1, (1,), 0.25)
    command(cloud, "rollout", "2", "--share", "1.0")
    assert "student 1 for all of acme" in command(cloud, "back")
    assert repository.desired("acme") == Desired(version=4, fleet="acme", models={"student": DesiredModel(release=1)})
    with pytest.raises(InputError):
        command(cloud, "rollout", "7")


def test_what_is_published_is_listed_and_verifies(cloud: Path) -> None:
    command(cloud, "rollout", "2")
    rows = json.loads(command(cloud, "list", "--json"))["releases"]
    assert [(row["release"], row["desired"], list(row["deltas"])) for row in rows] == [(1, False, []), (2, True, ["1"])]
    assert "student 2 (manual)" in command(cloud, "list")
    root = cloud.parent / "state" / "repository" / "metadata" / "1.root.json"
    assert "6 files, 2 models, 1 deltas and desired state 1 verify" in command(cloud, "verify", "--root", str(root))
    assert "timestamp version" in command(cloud, "refresh")


def test_a_damaged_repository_does_not_verify(cloud: Path) -> None:
    repository = Repository(cloud.parent / "state" / "repository", cloud.parent / "keys")
    assert inspection.verify(repository, "acme", root=repository.root()).deltas == 1
    next((repository.folder / "targets").rglob("*.delta")).write_bytes(
        bytes(repository.targets()["models/student/manual/000002.from-000001.delta"])
    )
    with pytest.raises(TrustError):
        inspection.verify(repository, "acme", root=repository.root())
