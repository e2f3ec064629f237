"""Rollouts: growing cohorts, votes, halting and going back; and the operator's commands over a real repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud import inspection, rollout
from cloud.publish import Repository
from cloud.release_cli import app
from cloud.rollout import Quorum, Step, Vote
from shared.errors import InputError, TrustError
from shared.release.desired import Desired, DesiredModel, wanted
from tests.unit import releases

FIRST, SECOND = releases.model(1), releases.model(1, moved=0.01)
FLEET = [f"edge-{number}.region-{number % 2}" for number in range(40)]


def started(share: float = 0.25) -> Desired:
    before = rollout.follow(None, fleet="acme", family="student", release=1, role="manual")
    return rollout.follow(before, fleet="acme", family="student", release=2, role="auto", deltas=(1,), salt="s", share=share)


def cohort(desired: Desired) -> list[str]:
    chosen = {device: wanted(desired.models["student"], device) for device in FLEET}
    return [device for device, choice in chosen.items() if choice is not None and choice.release == 2]


def judge(desired: Desired, states: dict[str, str], *, is_over: bool = False, quorum: Quorum | None = None) -> Step:
    votes = {device: Vote(region=device.split(".")[1], state=state) for device, state in states.items()}
    return rollout.judge(desired.models["student"], devices=FLEET, votes=votes, is_over=is_over, quorum=quorum or Quorum()).step


def test_a_cohort_only_grows() -> None:
    before = started()
    first, second = set(cohort(before)), set(cohort(rollout.widen(before, "student", 0.5)))
    assert 0 < len(first) < len(second) < len(FLEET)
    assert first < second
    with pytest.raises(TrustError):
        rollout.widen(before, "student", 0.2)


def test_all_for_it_advances() -> None:
    desired = started()
    good = dict.fromkeys(cohort(desired), "committed")
    assert judge(desired, good) is Step.ADVANCE
    assert judge(rollout.widen(desired, "student", 1.0), dict.fromkeys(FLEET, "committed")) is Step.DONE
    assert [rollout.next_share(share) for share in (0.0, 0.05, 0.25, 1.0)] == [0.05, 0.25, 1.0, 1.0]


def test_silence_waits_and_then_counts_against() -> None:
    desired = started()
    some = dict.fromkeys(cohort(desired)[:3], "committed")
    assert judge(desired, some) is Step.WAIT
    assert judge(desired, some, is_over=True) is Step.HALT


@pytest.mark.parametrize("word", ["fallen_back", "refused"])
def test_words_against_halt_at_once(word: str) -> None:
    desired = started()
    assert judge(desired, dict.fromkeys(cohort(desired)[:2], word)) is Step.HALT


def test_votes_from_outside_the_cohort_count_nothing() -> None:
    desired = started()
    outside = [device for device in FLEET if device not in cohort(desired)]
    assert judge(desired, dict.fromkeys(outside, "fallen_back")) is Step.WAIT


def test_a_small_fleet_asks_an_operator() -> None:
    desired = started()
    good = dict.fromkeys(cohort(desired), "committed")
    assert judge(desired, good, quorum=Quorum(minimum_devices=99)) is Step.ASK
    assert judge(desired, good, quorum=Quorum(minimum_regions=3)) is Step.ASK
    nobody = started(0.0)
    assert judge(nobody, {}) is Step.WAIT
    assert judge(nobody, {}, is_over=True) is Step.ASK


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
