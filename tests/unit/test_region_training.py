"""What a region trains on and counts: shares of devices, a real training in a child process, counts of a real model."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.federation.thresholds import pooled_bins, safe_edge
from region import tally, training
from region.cases import Incoming
from region.federation.reporter import cases_of
from region.jobs import Job, Wish, balanced
from region.summary import compose
from region.tally import HeldOut
from region.vault import Vault
from shared.deferral.risk import bound
from shared.errors import FederationError
from shared.learning import architectures, arrays
from shared.vision.picture import encode as encode_picture
from shared.wire.messages import Case, Prediction, encode
from shared.wire.reports import SliceCounts

SIDE = 32
WISH = Wish(classes=3, side=SIDE, steps=6, batch=16, seed=5, minimum_cases=10, replay_share=0.5, device_share=0.5)


def fill(path: Path, count: int = 60) -> Vault:
    random = np.random.default_rng(0)
    vault = Vault(path)
    vault.start()
    items = []
    for number in range(count):
        picture = encode_picture(random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
        case = Case(
            stream="line", frame=number, unit=f"u{number // 2}", captured_at=1.0, reason="score", is_audit=number % 2 == 0, score=0.1,
            threshold=1.0, release=1, prediction=Prediction(index=0, probabilities=(1.0, 0.0, 0.0)), picture=picture,
        )  # fmt: skip
        device = f"edge-{number % 3}.region-1"
        items.append(Incoming(device=device, spool=b"s" * 16, sequence=number, payload=encode(case), case=case, received_at=time.time()))
    stored = vault.store(items)
    answers = [(item.id, Prediction(index=item.id % 3, probabilities=(0.2, 0.3, 0.5))) for item in stored]
    vault.store_answers(answers, release=1, now=time.time())
    return vault


def job(root: Path, wish: Wish = WISH, replay: bool = True) -> Job:
    random = np.random.default_rng(1)
    if replay:
        frames = random.integers(0, 255, (20, SIDE, SIDE, 3), dtype=np.uint8)
        np.savez(root / "replay.npz", frames=frames, labels=np.arange(20) % 3, logits=random.normal(size=(20, 3)).astype(np.float32))
    path = root / "replay.npz" if replay else None
    return Job(vault=root / "vault.db", replay=path, wish=wish, learning_rate=1e-3, threads=1, nice=1, last_case=1 << 40)


def test_a_training_in_a_child_changes_the_weights_and_is_the_same_twice(tmp_path: Path) -> None:
    fill(tmp_path / "vault.db").stop()
    given_arrays = arrays.to_arrays(architectures.student(3, side=SIDE))
    first = training.train(tmp_path / "a", given_arrays, job(tmp_path), timeout_s=120)
    second = training.train(tmp_path / "b", given_arrays, job(tmp_path), timeout_s=120)
    assert (first.steps, first.examples) == (6, second.examples)
    assert 10 <= first.examples <= 60
    assert set(first.arrays) == set(given_arrays)
    assert any(not np.array_equal(first.arrays[name], given_arrays[name]) for name in given_arrays)
    assert all(first.arrays[name].tobytes() == second.arrays[name].tobytes() for name in given_arrays)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".webp", ".png", ".jpeg"}]


@pytest.mark.parametrize(
    ("changes", "replay", "reason"),
    [({"minimum_cases": 1000}, True, "1000 are needed"), ({}, False, "replay set has not arrived"), ({"device_share": 0.1}, True, "10%")],
)
def test_a_region_that_cannot_train_says_why(tmp_path: Path, changes: dict[str, float], replay: bool, reason: str) -> None:
    import msgspec

    fill(tmp_path / "vault.db").stop()
    wish = msgspec.structs.replace(WISH, **changes)
    with pytest.raises(FederationError, match=reason):
        training.train(tmp_path / "a", arrays.to_arrays(architectures.student(3, side=SIDE)), job(tmp_path, wish, replay), timeout_s=120)


@given(st.lists(st.sampled_from("abcd"), max_size=80), st.floats(0.05, 1.0))
def test_no_device_has_more_than_its_share(devices: list[str], share: float) -> None:
    taken = balanced(devices, share)
    assert taken == sorted(set(taken))
    counts = Counter(devices[index] for index in taken)
    assert all(count <= share * len(taken) + 1e-6 for count in counts.values())
    if share == 1.0:
        assert len(taken) == len(devices)


def test_the_newest_cases_of_a_device_are_kept() -> None:
    assert balanced(["a", "a", "a", "b"], 0.5) == [2, 3]


def test_counts_are_per_class_bin_and_unit() -> None:
    cases = HeldOut(
        frames=np.zeros((5, 2, 2, 3), np.uint8), truth=np.array([0, 1, 1, 2, 2]), units=np.array([0, 0, 1, 2, 2])
    )  # fmt: skip
    predicted, scores = np.array([0, 0, 1, 2, 1]), np.array([0.1, 0.2, 0.6, 0.9, 0.95])
    found = tally.count(predicted, scores, cases, classes=3, edges=(0.5, 0.8))
    assert (found.cases, found.right) == ((1, 2, 2), (1, 1, 1))
    assert (found.bin_cases, found.bin_wrong) == ((1, 1, 1), (0, 0, 0))  # one case per unit, its first
    assert (found.unit_cases, found.unit_right) == ((2, 1, 2), (1, 1, 1))


def counts(cases: tuple[int, ...], wrong: tuple[int, ...]) -> SliceCounts:
    return SliceCounts(cases=(), right=(), bin_cases=cases, bin_wrong=wrong, unit_cases=(), unit_right=())


def test_the_threshold_out_of_counts_keeps_its_bound() -> None:
    cases, wrong = pooled_bins([counts((20, 180, 300), (9, 1, 0)), counts((10, 90, 200), (5, 1, 0)), counts((1,), (1,))], 3)
    assert (cases, wrong) == ([30, 270, 500], [14, 2, 0])
    found = safe_edge(cases, wrong, (1.0, 2.0), epsilon=0.02, delta=0.05, most=0.2)
    assert found == (1.0, 2)
    assert bound(2, 800, 0.025) <= 0.02
    assert safe_edge([3, 5, 9], [1, 0, 0], (1.0, 2.0), epsilon=0.02, delta=0.05, most=0.9) is None
    assert safe_edge([300, 200, 300], [20, 20, 0], (1.0, 2.0), epsilon=0.02, delta=0.05, most=0.2) is None


def test_the_report_counts_the_vault_and_its_devices(tmp_path: Path) -> None:
    vault = fill(tmp_path / "vault.db", 30)
    found = cases_of(vault)
    status = {
        "expert_release": 1,
        "devices": {
            "edge-1.region-1": {
                "heard_at": 5.0,
                "telemetry": {"release": 2, "update_state": "probation", "streams": [dict.fromkeys(STREAM, 3), dict.fromkeys(STREAM, 4)]},
                "reports": {"student": {"release": 2, "state": "committed", "reason": ""}},
            },
            "edge-2.region-1": {"heard_at": 6.0, "telemetry": None, "reports": {}},
        },
    }
    report = compose(found, status, now=9.0)
    assert report.cases_stored == report.cases_answered == 30
    assert 0 < report.cases_train < 30
    assert [(device.name, device.release, device.frames, device.committed) for device in report.devices] == [
        ("edge-1.region-1", 2, 7, (2,)),
        ("edge-2.region-1", 0, 0, ()),
    ]
    vault.stop()


STREAM = ("frames", "dropped", "kept", "deferred", "audited")
