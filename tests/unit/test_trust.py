"""Every attack on the way of a release, each a small story; the ones python-tuf alone would believe are told twice."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile
from tuf.ngclient import Updater

from cloud import ceremony
from cloud.keyring import Keyring
from cloud.publish import Repository
from cloud.roles import SNAPSHOT
from shared.errors import LinkError, StorageError, TrustError
from shared.release.fetch import Fetch, from_folder
from shared.release.trust import TrustedClient, _Fetcher
from tests.unit import releases

ONNX = "models/student/manual/000001.onnx"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "repository", tmp_path / "keys")
    releases.add(made, tmp_path, releases.model(1), 1)
    releases.desire(made, 1)
    return made


@pytest.fixture
def device(tmp_path: Path, repository: Repository) -> TrustedClient:
    return client(tmp_path / "device", repository)


def client(folder: Path, repository: Repository, source: Path | Fetch | None = None) -> TrustedClient:
    """Return a device provisioned from `repository`, served by `source`."""
    fetch = from_folder(source or repository.folder) if source is None or isinstance(source, Path) else source
    return TrustedClient(folder, bootstrap_root=repository.root(), fetch=fetch)


def look_up(device: TrustedClient) -> None:
    device.refresh()
    device.target(ONNX)


def copy(repository: Repository, name: str) -> Path:
    return Path(shutil.copytree(repository.folder, repository.folder.with_name(name)))


def second_release(repository: Repository, tmp_path: Path) -> None:
    releases.add(repository, tmp_path, releases.model(1, moved=0.01), 2, bases=(1,))
    releases.desire(repository, 2, deltas=(1,))


def test_a_release_is_found_fetched_and_desired(device: TrustedClient, tmp_path: Path) -> None:
    device.refresh()
    assert device.desired(releases.FLEET).models["student"].release == 1
    path = device.fetch(ONNX, tmp_path / "got" / "model.onnx")
    assert path.read_bytes() == releases.model(1)
    assert device.target("models/student/manual/000099.onnx") is None
    before = device.bytes_fetched
    device.fetch(ONNX, path)
    assert device.bytes_fetched == before


def test_a_path_outside_every_delegation_is_nobodys(device: TrustedClient) -> None:
    device.refresh()
    assert device.target("elsewhere/evil.onnx") is None
    with pytest.raises(TrustError, match="nobody who may has signed"):
        device.require("models/student/else/000001.onnx")


def test_rollback_to_an_old_copy_is_refused(device: TrustedClient, repository: Repository, tmp_path: Path) -> None:
    old = copy(repository, "old")
    second_release(repository, tmp_path)
    device.refresh()
    with pytest.raises(TrustError):
        client(tmp_path / "device", repository, old).refresh()


def test_rollback_after_wiped_metadata_is_refused_by_us_though_tuf_accepts(
    device: TrustedClient, repository: Repository, tmp_path: Path
) -> None:
    old = copy(repository, "old")
    second_release(repository, tmp_path)
    device.refresh()
    shutil.rmtree(tmp_path / "device" / "tuf")
    (tmp_path / "alone").mkdir()
    Updater(
        str(tmp_path / "alone"), "https://repository/metadata/", fetcher=_Fetcher(from_folder(old)), bootstrap=repository.root()
    ).refresh()
    attacked = client(tmp_path / "device", repository, old)
    with pytest.raises(TrustError, match="went back"):
        attacked.refresh()
    with pytest.raises(TrustError, match="no trusted metadata"):
        attacked.target(ONNX)
    client(tmp_path / "device", repository).refresh()


def test_rollback_of_the_desired_state_alone_is_refused(repository: Repository, tmp_path: Path) -> None:
    """The rollout, snapshot and timestamp keys are stolen: an older document under newer versions."""
    second_release(repository, tmp_path)
    device = client(tmp_path / "device", repository)
    device.refresh()
    assert device.desired(releases.FLEET).version == 2
    forged = repository._store.next(ceremony.ROLES["rollout"])
    path = "rollout/acme.json"
    old = repository.content(path).replace(b'"version": 2', b'"version": 1')
    forged.targets[path] = file = type(forged.targets[path]).from_data(path, old, ["sha256"])
    (repository.folder / "targets" / file.get_prefixed_paths()[0]).write_bytes(old)
    repository._store.commit({"rollout": repository._store.sign(ceremony.ROLES["rollout"], forged)})
    device.refresh()
    with pytest.raises(TrustError, match="went back"):
        device.desired(releases.FLEET)


def test_minimum_release_only_rises(device: TrustedClient, repository: Repository, tmp_path: Path) -> None:
    second_release(repository, tmp_path)
    releases.desire(repository, 2, minimum_release=2)
    device.refresh()
    device.desired(releases.FLEET)
    assert device.floors().minimum == {"student": 2}
    with pytest.raises(TrustError, match="never lowered"):
        releases.desire(repository, 2, minimum_release=1)


def test_freeze_is_seen_by_expiry_and_blocks_only_updates(tmp_path: Path) -> None:
    made = Repository.create(tmp_path / "repository", tmp_path / "keys", lifetimes={"timestamp": -60})
    with pytest.raises(TrustError, match="expired"):
        client(tmp_path / "device", made).refresh()


@pytest.mark.parametrize("role", ["manual", "rollout"])
def test_an_expired_delegation_is_refused(tmp_path: Path, role: str) -> None:
    made = Repository.create(tmp_path / "repository", tmp_path / "keys", lifetimes={role: -60})
    releases.add(made, tmp_path, releases.model(1), 1)
    releases.desire(made, 1)
    device = client(tmp_path / "device", made)
    device.refresh()
    with pytest.raises(TrustError, match="expired"):
        device.target(ONNX if role == "manual" else "rollout/acme.json")


@pytest.mark.parametrize("name", ["snapshot", "targets", "manual"])
def test_mix_and_match_of_validly_signed_files_is_refused(device: TrustedClient, repository: Repository, tmp_path: Path, name: str) -> None:
    """Two futures are signed by the true keys; files of one are served inside the other."""
    other = Repository(copy(repository, "other"), tmp_path / "keys")
    ceremony.renew(other.folder, tmp_path / "keys", clock=lambda: time.time() + 100)  # so that the bytes differ
    releases.add(other, tmp_path, releases.model(7), 2)
    ceremony.renew(repository.folder, tmp_path / "keys")
    second_release(repository, tmp_path)
    version = repository._store.snapshot().signed.version if name == "snapshot" else repository._store.targets(name).signed.version
    taken = other.folder / "metadata" / f"{version}.{name}.json"
    if not taken.exists():
        taken = max(other.folder.glob(f"metadata/*.{name}.json"), key=lambda path: int(path.name.split(".")[0]))
    shutil.copy(taken, repository.folder / "metadata" / f"{version}.{name}.json")
    with pytest.raises(TrustError):
        look_up(device)


@pytest.mark.parametrize("name", ["timestamp.json", "manual", "targets"])
def test_edited_metadata_is_refused(device: TrustedClient, repository: Repository, name: str) -> None:
    path = max(repository.folder.glob(f"metadata/*{name}*"), key=lambda found: found.stat().st_mtime_ns)
    releases.edit(path, expires="2099-01-01T00:00:00Z")
    with pytest.raises(TrustError):
        look_up(device)


def test_keys_of_another_repository_sign_nothing_here(device: TrustedClient, repository: Repository, tmp_path: Path) -> None:
    evil = Repository.create(tmp_path / "evil", tmp_path / "evil-keys")
    releases.add(evil, tmp_path, releases.model(6), 1)
    with pytest.raises(TrustError):
        client(tmp_path / "device", repository, evil.folder).refresh()


def test_the_rollout_key_cannot_sign_a_model(device: TrustedClient, repository: Repository) -> None:
    rollout = ceremony.ROLES["rollout"]
    forged = repository._store.next(rollout)
    path = "models/student/manual/000666.onnx"
    forged.targets[path] = type(next(iter(forged.targets.values()))).from_data(path, b"evil", ["sha256"])
    repository._store.commit({"rollout": repository._store.sign(rollout, forged)})
    device.refresh()
    assert device.target(path) is None


def test_one_of_three_root_keys_is_not_enough(device: TrustedClient, repository: Repository, tmp_path: Path) -> None:
    ceremony.renew(repository.folder, tmp_path / "keys")
    path = repository.folder / "metadata" / "2.root.json"
    document = json.loads(path.read_bytes())
    document["signatures"] = document["signatures"][:1]
    path.write_text(json.dumps(document))
    with pytest.raises(TrustError):
        device.refresh()


def test_a_stolen_snapshot_key_is_worthless_after_it_was_replaced(device: TrustedClient, repository: Repository, tmp_path: Path) -> None:
    stolen = Keyring(Path(shutil.copytree(tmp_path / "keys", tmp_path / "stolen"))).signers(SNAPSHOT)
    ceremony.replace_keys(repository.folder, tmp_path / "keys", "snapshot")
    device.refresh()
    assert device.floors().root == 2
    store = repository._store
    snapshot = store.snapshot().signed
    snapshot.version += 1
    forged: Metadata = Metadata(snapshot)
    forged.sign(stolen[0])
    (repository.folder / "metadata" / f"{snapshot.version}.snapshot.json").write_bytes(forged.to_bytes())
    store.stamp(MetaFile(version=snapshot.version))
    with pytest.raises(TrustError):
        device.refresh()


def files_of(repository: Repository, suffix: str) -> list[Path]:
    return list((repository.folder / "targets").rglob(f"*{suffix}"))


@pytest.mark.parametrize("suffix", ["000002.onnx", "from-000001.delta", "acme.json"])
def test_tampered_and_endless_files_are_refused_and_leave_nothing(
    device: TrustedClient, repository: Repository, tmp_path: Path, suffix: str
) -> None:
    second_release(repository, tmp_path)
    device.refresh()
    target = next(path for path in repository.targets() if path.endswith(suffix))
    file = next(found for found in files_of(repository, suffix) if hashlib.sha256(found.read_bytes()).hexdigest() in found.name)
    if suffix == "acme.json":
        file = max(files_of(repository, suffix), key=lambda found: found.stat().st_mtime_ns)
    whole = file.read_bytes()
    for served in (b"\0" + whole[1:], whole + bytes(3 << 20)):
        file.write_bytes(served)
        with pytest.raises(TrustError):
            device.fetch(target, tmp_path / "got" / "file")
        assert not (tmp_path / "got" / "file").exists()
    file.write_bytes(whole)
    shutil.rmtree(tmp_path / "got")
    assert device.fetch(target, tmp_path / "got" / "file").read_bytes() == whole


def test_endless_metadata_is_cut_off(repository: Repository, tmp_path: Path) -> None:
    served = 0

    def endless(path: str, offset: int) -> Iterator[bytes]:
        nonlocal served
        if path.endswith("root.json"):
            raise FileNotFoundError(path)
        while True:
            served += 1 << 14
            yield bytes(1 << 14)

    with pytest.raises(TrustError):
        client(tmp_path / "device", repository, endless).refresh()
    assert served < 1 << 20


def test_an_interrupted_download_goes_on_where_it_stopped(repository: Repository, tmp_path: Path) -> None:
    cut = True
    offsets = []

    def flaky(path: str, offset: int) -> Iterator[bytes]:
        whole = b"".join(from_folder(repository.folder)(path, 0))
        if not path.endswith(".onnx"):
            yield whole[offset:]
            return
        offsets.append(offset)
        yield whole[offset : offset + 10_000]
        if cut:
            raise LinkError("the line went dead.")
        yield whole[offset + 10_000 :]

    device = client(tmp_path / "device", repository, flaky)
    device.refresh()
    with pytest.raises(LinkError):
        device.fetch(ONNX, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    cut = False
    device.fetch(ONNX, tmp_path / "model.onnx")
    assert offsets == [0, 10_000]
    assert (tmp_path / "model.onnx").read_bytes() == releases.model(1)


def test_a_source_that_ends_early_is_a_link_error(repository: Repository, tmp_path: Path) -> None:
    def short(path: str, offset: int) -> Iterator[bytes]:
        whole = b"".join(from_folder(repository.folder)(path, 0))
        yield whole[:-1] if path.endswith(".onnx") else whole

    device = client(tmp_path / "device", repository, short)
    device.refresh()
    with pytest.raises(LinkError, match="ended after"):
        device.fetch(ONNX, tmp_path / "model.onnx")


def test_an_unreachable_source_is_a_link_error(repository: Repository, tmp_path: Path) -> None:
    def dead(path: str, offset: int) -> Iterator[bytes]:
        raise LinkError("nobody answers.")

    with pytest.raises(LinkError):
        client(tmp_path / "device", repository, dead).refresh()
    with pytest.raises(LinkError):
        client(tmp_path / "device", repository, tmp_path / "empty").refresh()


def test_damaged_floors_stop_updates(device: TrustedClient, tmp_path: Path) -> None:
    device.refresh()
    (tmp_path / "device" / "floors.json").write_bytes(b"{")
    with pytest.raises(TrustError, match="damaged"):
        device.refresh()


def test_a_full_disk_is_a_storage_error(device: TrustedClient, tmp_path: Path) -> None:
    (tmp_path / "device").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageError):
        device.refresh()


def test_garbage_in_tufs_own_folder_is_replaced(device: TrustedClient, tmp_path: Path) -> None:
    device.refresh()
    for path in (tmp_path / "device" / "tuf").glob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"garbage")
    device.refresh()
    assert device.target(ONNX) is not None
