"""Publishing: what becomes visible, who signs it, and what a publisher killed in the middle leaves behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cloud import ceremony
from cloud.publish import Repository
from cloud.roles import ROLES, role_of
from cloud.signing import SignRequest
from shared.errors import ConfigurationError, IdentityError, InputError, StorageError, TrustError
from shared.release import delta
from shared.release.card import sha256
from shared.release.desired import Desired, DesiredModel, cohort_position, decode_desired, wanted
from shared.release.fetch import from_folder
from shared.release.trust import TrustedClient
from tests.unit import releases

FIRST, SECOND = releases.model(1), releases.model(1, moved=0.01)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "repository", tmp_path / "keys")
    releases.add(made, tmp_path, FIRST, 1)
    return made


def metadata_files(repository: Repository) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (repository.folder / "metadata").iterdir()}


def device(repository: Repository, folder: Path) -> TrustedClient:
    client = TrustedClient(folder, bootstrap_root=repository.root(), fetch=from_folder(repository.folder))
    client.refresh()
    return client


def test_the_ceremony_makes_private_keys_once(repository: Repository, tmp_path: Path) -> None:
    keys = sorted((tmp_path / "keys").rglob("*.pem"))
    assert len(keys) == sum(role.keys for role in ROLES.values())
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
    assert len(list((tmp_path / "keys" / "offline").iterdir())) == 9
    with pytest.raises(ConfigurationError):
        Repository.create(repository.folder, tmp_path / "keys")
    with pytest.raises(IdentityError):
        Repository.create(tmp_path / "elsewhere", tmp_path / "keys")


def test_a_release_signs_only_its_role_snapshot_and_timestamp(repository: Repository, tmp_path: Path) -> None:
    before = metadata_files(repository)
    (tmp_path / "keys" / "offline").rename(tmp_path / "taken-away")
    published = releases.add(repository, tmp_path, SECOND, 2, bases=(1,))
    changed = {name for name, data in metadata_files(repository).items() if before.get(name) != data}
    assert changed == {"3.manual.json", "3.snapshot.json", "timestamp.json"}
    assert published.full_bytes == len(SECOND)
    assert published.delta_bytes[1] < len(SECOND) / 4
    assert repository.releases("student") == {1: "manual", 2: "manual"}


def test_a_delta_leads_from_release_to_release(repository: Repository, tmp_path: Path) -> None:
    releases.add(repository, tmp_path, SECOND, 2, bases=(1,))
    client = device(repository, tmp_path / "device")
    path = "models/student/manual/000002.from-000001.delta"
    info = client.require("models/student/manual/000002.onnx")
    assert client.require(path).custom["result_sha256"] == info.sha256
    container = client.fetch(path, tmp_path / "delta").read_bytes()
    assert delta.apply(FIRST, container, expect_sha256=info.sha256, limit_bytes=info.length) == SECOND


def test_the_same_release_again_changes_nothing(repository: Repository, tmp_path: Path) -> None:
    before = metadata_files(repository)
    releases.add(repository, tmp_path, FIRST, 1)
    assert metadata_files(repository) == before


def test_what_is_published_never_changes(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="never changes"):
        releases.add(repository, tmp_path, SECOND, 1)
    repository.add_file("models/replay/manual/000001.npz", b"pictures")
    with pytest.raises(TrustError, match="never changes"):
        repository.add_file("models/replay/manual/000001.npz", b"other pictures")
    repository.add_file("config/acme.json", b"1")
    repository.add_file("config/acme.json", b"2")
    assert repository.content("config/acme.json") == b"2"


def test_a_card_must_fit_its_model(repository: Repository, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(SECOND)
    with pytest.raises(TrustError, match="not of student 3"):
        repository.add_release("student", "manual", 3, path, releases.card(SECOND, 2))
    with pytest.raises(TrustError, match="hash of its model"):
        repository.add_release("student", "manual", 2, path, releases.card(FIRST, 2))
    with pytest.raises(InputError):
        repository.add_release("student", "manual", 2, tmp_path / "missing.onnx", releases.card(SECOND, 2))
    with pytest.raises(InputError, match="no release 7"):
        repository.add_release("student", "manual", 2, path, releases.card(SECOND, 2), [7])
    with pytest.raises(TrustError):
        repository.add_release("student", "root", 2, path, releases.card(SECOND, 2))


@pytest.mark.parametrize("path", ["root.json", "models/student/else/000001.onnx", "models/a/b/manual/x", "../manual", "rollout/acme.json"])
def test_a_path_has_one_signer_or_none(repository: Repository, path: str) -> None:
    with pytest.raises(TrustError):
        repository.add_file(path, b"x")


def test_roles_of_paths() -> None:
    names = {"models/student/manual/000001.onnx": "manual", "models/x/auto/1": "auto", "rollout/a.json": "rollout", "agent/a.whl": "agent"}
    assert {path: role_of(path).name for path in names} == names


def test_a_missing_or_open_key_is_named(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "keys" / "approver" / "manual-1.pem").chmod(0o644)
    with pytest.raises(IdentityError, match="read by others"):
        releases.add(repository, tmp_path, SECOND, 2)
    (tmp_path / "keys" / "approver" / "manual-1.pem").unlink()
    with pytest.raises(IdentityError, match="0 are in"):
        releases.add(repository, tmp_path, SECOND, 2)


def test_desired_states_go_forward_and_name_what_exists(repository: Repository, tmp_path: Path) -> None:
    releases.desire(repository, 1)
    with pytest.raises(TrustError, match="not newer"):
        repository.set_desired(Desired(version=1, fleet=releases.FLEET, models={"student": DesiredModel(release=1)}))
    with pytest.raises(TrustError, match="not published"):
        releases.desire(repository, 9)
    releases.add(repository, tmp_path, SECOND, 2)
    with pytest.raises(TrustError, match="delta, which is not published"):
        releases.desire(repository, 2, deltas=(1,))
    releases.desire(repository, 2, previous=1)
    releases.desire(repository, 1)
    assert device(repository, tmp_path / "device").desired(releases.FLEET).models["student"].release == 1


def test_a_cohort_is_a_keyed_share_of_the_fleet() -> None:
    names = [f"edge-{number}.region-1" for number in range(2000)]
    model = DesiredModel(release=2, previous=1, cohort_salt="salt", cohort_share=0.25)
    inside = {name for name in names if wanted(model, name).release == 2}
    assert 0.2 < len(inside) / len(names) < 0.3
    assert inside != {name for name in names if cohort_position("other", name) < 0.25}
    assert wanted(DesiredModel(release=2, cohort_share=0.0), names[0]) is None
    assert wanted(DesiredModel(release=2, cohort_share=0.0, previous=1, minimum_release=2), names[0]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"[]",
        b"\xff",
        b'{"version":0,"fleet":"a","models":{}}',
        b'{"version":1,"fleet":"a","models":{"student":{"release":1,"minimum_release":2}}}',
        b'{"version":1,"fleet":"a","models":{"student":{"release":1,"role":"rollout"}}}',
        b'{"version":1,"fleet":"a","models":{"student":{"release":1,"cohort_share":1.5}}}',
        b" " * 70_000,
    ],
)
def test_a_desired_state_that_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError):
        decode_desired(data)


def test_refresh_renews_what_is_due_and_nothing_else(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    repository = Repository.create(tmp_path / "repository", tmp_path / "keys", clock=lambda: now[0])
    repository.refresh_timestamp()
    assert set(metadata_files(repository)) == {*(f"1.{name}.json" for name in ROLES if name != "timestamp"), "timestamp.json"}
    now[0] += 20 * 86_400
    (tmp_path / "keys" / "offline").rename(tmp_path / "taken-away")
    assert repository.refresh_timestamp() == 3
    assert {"2.rollout.json", "2.config.json", "2.snapshot.json"} <= set(metadata_files(repository))
    assert "2.auto.json" not in metadata_files(repository)


def test_a_damaged_published_file_is_seen(repository: Repository, tmp_path: Path) -> None:
    next((repository.folder / "targets").rglob("*.onnx")).write_bytes(b"damaged")
    with pytest.raises(StorageError, match="damaged"):
        releases.add(repository, tmp_path, SECOND, 2, bases=(1,))


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from shared import durable
    from cloud.publish import Repository
    from tests.unit import releases
    left, real = int(sys.argv[2]), durable.write
    def write(path, data, **more):
        global left
        if left == 0:
            path.with_name(path.name + ".half").write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        real(path, data, **more)
    durable.write = write
    folder = Path(sys.argv[1])
    repository = Repository(folder / "repository", folder / "keys")
    releases.add(repository, folder, releases.model(1, moved=0.01), 2, bases=(1,))
"""


@pytest.mark.parametrize("writes", range(7))
def test_a_publisher_killed_at_any_write_leaves_a_whole_repository(repository: Repository, tmp_path: Path, writes: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(writes)], env=environment)
    assert child.returncode == (-signal.SIGKILL if writes < 6 else 0)
    client = device(repository, tmp_path / "device")
    assert client.fetch("models/student/manual/000001.onnx", tmp_path / "got-1").read_bytes() == FIRST
    assert (client.target("models/student/manual/000002.onnx") is None) == (writes < 6)
    releases.add(repository, tmp_path, SECOND, 2, bases=(1,))
    client.refresh()
    assert client.fetch("models/student/manual/000002.onnx", tmp_path / "got-2").read_bytes() == SECOND


def test_metadata_of_a_liar_is_never_committed(repository: Repository, tmp_path: Path) -> None:
    def lie(request: SignRequest) -> bytes:
        return repository._store.sign(ROLES["rollout"], repository._store.next(ROLES["auto"]))

    other = Repository(repository.folder, tmp_path / "keys", sign_auto=lie)
    with pytest.raises(TrustError, match="not signed by its keys"):
        releases.add(other, tmp_path, SECOND, 2, role="auto", parent=1)


def test_the_root_is_renewed_by_its_offline_keys_only(repository: Repository, tmp_path: Path) -> None:
    client = device(repository, tmp_path / "device")
    ceremony.renew(repository.folder, tmp_path / "keys")
    client.refresh()
    assert client.floors().root == 2
    (tmp_path / "keys" / "offline" / "root-1.pem").unlink()
    (tmp_path / "keys" / "offline" / "root-3.pem").unlink()
    with pytest.raises(IdentityError, match="2 keys, 1 are"):
        ceremony.renew(repository.folder, tmp_path / "keys")


def test_sizes_and_hashes_are_reported(repository: Repository, tmp_path: Path) -> None:
    published = releases.add(repository, tmp_path, SECOND, 2)
    assert (published.sha256, published.delta_bytes) == (sha256(SECOND), {})
    assert repository.targets()["models/student/manual/000002.onnx"] == len(SECOND)
