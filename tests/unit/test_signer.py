"""The signing process of automatic releases: it signs what follows its rules and refuses each breach by name."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from cloud import graph, signer
from cloud.publish import Repository
from cloud.signing import SignRequest
from shared.clock import wall
from shared.errors import TrustError
from shared.release import delta
from shared.release.fetch import from_folder
from shared.release.trust import TrustedClient
from tests.unit import releases

FIRST, SECOND, THIRD = releases.model(1), releases.model(1, moved=0.01), releases.model(1, moved=0.02)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    Repository.create(tmp_path / "repository", tmp_path / "keys")
    here = Repository(tmp_path / "repository", tmp_path / "keys", sign_auto=lambda request: signer.sign(request, now=wall()))
    releases.add(here, tmp_path, FIRST, 1)
    return here


def add(repository: Repository, folder: Path, data: bytes = SECOND, release: int = 2, **more: Any) -> None:
    releases.add(repository, folder, data, release, **{"role": "auto", "parent": 1, "bases": (1,), **more})


def test_a_release_is_signed_by_a_process_of_its_own(repository: Repository, tmp_path: Path) -> None:
    real = Repository(repository.folder, tmp_path / "keys")
    releases.add(real, tmp_path, SECOND, 2, role="auto", parent=1, bases=(1,))
    client = TrustedClient(tmp_path / "device", bootstrap_root=real.root(), fetch=from_folder(real.folder))
    client.refresh()
    assert client.fetch("models/student/auto/000002.onnx", tmp_path / "got").read_bytes() == SECOND
    assert client.require("models/student/auto/000002.from-000001.delta").custom["base"] == 1
    with pytest.raises(TrustError, match="gates of student 3 did not pass"):
        releases.add(real, tmp_path, THIRD, 3, role="auto", parent=2, gates=releases.gates(THIRD, 3, passed=False))


def test_automatic_releases_follow_one_another(repository: Repository, tmp_path: Path) -> None:
    add(repository, tmp_path)
    add(repository, tmp_path, THIRD, 3, parent=2, bases=(1, 2))
    assert repository.releases("student") == {1: "manual", 2: "auto", 3: "auto"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": ("good", "open", "other")}, "labels differs"),
        ({"task": "detection"}, "task differs"),
        ({"parent": 5}, "not published"),
        ({"gates": b""}, "no evidence"),
        ({"gates": releases.gates(SECOND, 2, passed=False)}, "did not pass"),
        ({"gates": releases.gates(SECOND, 3)}, "about student 3"),
        ({"gates": releases.gates(THIRD, 2)}, "not about this"),
    ],
)
def test_a_breach_is_refused(repository: Repository, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(TrustError, match=reason):
        add(repository, tmp_path, **change)
    assert repository.releases("student") == {1: "manual"}


def test_numbers_only_go_up(repository: Repository, tmp_path: Path) -> None:
    add(repository, tmp_path, SECOND, 3)
    with pytest.raises(TrustError, match="not above"):
        add(repository, tmp_path, THIRD, 2)


def sign(repository: Repository, tmp_path: Path, files: dict[str, bytes]) -> bytes:
    named = []
    for path, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        folder, _, name = path.rpartition("/")
        (repository.folder / "targets" / folder).mkdir(parents=True, exist_ok=True)
        (repository.folder / "targets" / folder / f"{digest}.{name}").write_bytes(content)
        named.append((path, digest))
    request = SignRequest(repository=repository.folder, keys=tmp_path / "keys", files=tuple(named), gates=releases.gates(SECOND, 2))
    return signer.sign(request, now=wall())


STEM = "models/student/auto/000002"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({f"{STEM}.onnx": SECOND}, "together"),
        ({"models/student/manual/000002.onnx": SECOND}, "one automatic release"),
        ({"rollout/acme.json": b"{}"}, "one automatic release"),
        ({f"{STEM}.onnx": SECOND, "models/expert/auto/000002.onnx": SECOND}, "one automatic release"),
        ({f"{STEM}.onnx": SECOND, f"{STEM}.card.json": releases.card(SECOND, 2, parent=1), f"{STEM}.sh": b"#!"}, "no file of a release"),
        (
            {f"{STEM}.onnx": SECOND, f"{STEM}.card.json": releases.card(SECOND, 2, parent=1), f"{STEM}.from-000009.delta": b"x"},
            "no file of a release",
        ),
    ],
)
def test_a_request_for_anything_else_is_refused(repository: Repository, tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(TrustError, match=reason):
        sign(repository, tmp_path, files)


def test_a_delta_that_leads_elsewhere_is_refused(repository: Repository, tmp_path: Path) -> None:
    card = releases.card(SECOND, 2, parent=1)
    with pytest.raises(TrustError):
        sign(
            repository, tmp_path, {f"{STEM}.onnx": SECOND, f"{STEM}.card.json": card, f"{STEM}.from-000001.delta": delta.make(FIRST, THIRD)}
        )


def test_a_restored_old_repository_gets_no_signature(repository: Repository, tmp_path: Path) -> None:
    old = shutil.copytree(repository.folder, tmp_path / "old")
    add(repository, tmp_path)
    add(repository, tmp_path, THIRD, 3, bases=())
    shutil.rmtree(repository.folder)
    shutil.copytree(old, repository.folder)
    with pytest.raises(TrustError):
        add(repository, tmp_path)


def altered(change: str) -> bytes:
    model = onnx.load_model_from_string(FIRST)
    if change == "domain":
        model.graph.node[1].domain = "com.evil"
    elif change == "operator":
        model.graph.node[1].op_type = "PythonOp"
    elif change == "external":
        model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    elif change == "ir":
        model.ir_version = 13
    elif change == "nested":
        model.graph.node[1].attribute.append(helper.make_attribute("body", helper.make_graph([], "g", [], [])))
    return model.SerializeToString()


@pytest.mark.parametrize("change", ["domain", "operator", "external", "ir", "nested"])
def test_a_model_asking_for_more_than_inference_is_refused(change: str) -> None:
    graph.check(FIRST)
    with pytest.raises(TrustError):
        graph.check(altered(change))
    with pytest.raises(TrustError):
        graph.check(b"no model")
