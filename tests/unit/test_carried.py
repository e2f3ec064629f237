"""Releases carried to a region without a network: what is exported, that only what is signed and new is taken, and that devices update."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud import export
from cloud.cli import app
from cloud.publish import Repository
from cloud.roles import DAY_S
from region import carried
from region.relay import Relay
from shared.errors import AccessError, InputError, LinkError, TrustError
from shared.release.fetch import either, from_folder
from shared.release.trust import TrustedClient
from tests.unit import releases

FIRST, SECOND = releases.model(1), releases.model(1, moved=0.01)
FAR = 10 * DAY_S


class World:
    """A cloud, and a region whose cable can be pulled."""

    def __init__(self, root: Path) -> None:
        self.root, self.state, self.cut = root, root / "region", True
        self.state.mkdir()
        self.repository = Repository.create(root / "repository", root / "keys")
        releases.add(self.repository, root, FIRST, 1)
        releases.desire(self.repository, 1)
        self.first_root = self.repository.root()
        fetch = either(self.cloud, from_folder(carried.folder_of(self.state)))
        self.client = TrustedClient(self.state / "trust", bootstrap_root=self.first_root, fetch=fetch)
        self.relay = Relay(self.state / "relay", client=self.client, fetch=fetch, on_change=self.changed)

    def cloud(self, path: str, offset: int) -> Iterator[bytes]:
        if self.cut:
            raise LinkError("the cloud is gone.")
        yield from from_folder(self.repository.folder)(path, offset)

    def changed(self, version: int) -> None:
        carried.forget_overtaken(self.state, version)

    def publish(self, content: bytes, number: int) -> None:
        releases.add(self.repository, self.root, content, number, bases=(1,))
        releases.desire(self.repository, number)

    def export(self, name: str = "releases.tar", *, everything: bool = False) -> Path:
        export.export(self.repository, releases.FLEET, self.root / name, everything=everything)
        return self.root / name

    def take(self, file: Path) -> carried.Carried:
        return carried.take(file, self.state, root=self.first_root, fleet=releases.FLEET)

    def device_gets(self, number: int) -> bytes:
        """What a device behind the relay updates to."""

        def served(path: str, offset: int) -> Iterator[bytes]:
            kind, _, name = path.partition("/")
            try:
                file = self.relay.metadata(name) if kind == "metadata" else self.relay.target(name)
            except AccessError:
                raise FileNotFoundError(path) from None
            yield file.read_bytes()[offset:]

        device = TrustedClient(self.root / "device", bootstrap_root=self.first_root, fetch=served)
        device.refresh()
        assert device.desired(releases.FLEET).models["student"].release == number
        got = device.fetch(f"models/student/manual/{number:06d}.onnx", self.root / f"got-{number}")
        return got.read_bytes()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_region_that_never_saw_the_cloud_updates_its_devices_from_a_file(world: World) -> None:
    assert not world.relay.refresh()
    found = world.take(world.export())
    assert (found.desired, found.targets) == (1, 3)
    assert world.relay.refresh()
    assert world.device_gets(1) == FIRST
    world.publish(SECOND, 2)
    assert world.take(world.export()).desired == 2
    assert world.relay.refresh()
    assert world.device_gets(2) == SECOND


def test_connected_again_the_cloud_goes_on_from_there_and_what_was_carried_goes(world: World) -> None:
    world.take(world.export())
    assert world.relay.refresh()
    world.publish(SECOND, 2)
    world.cut = False
    assert world.relay.refresh()
    assert world.device_gets(2) == SECOND
    assert not carried.folder_of(world.state).exists()


def test_only_what_the_desired_state_names_is_carried_unless_all_is_asked_for(world: World) -> None:
    world.publish(SECOND, 2)
    releases.add(world.repository, world.root, releases.model(2), 3)
    with tarfile.open(world.export()) as archive:
        some = archive.getnames()
    with tarfile.open(world.export(everything=True)) as archive:
        everything = archive.getnames()
    assert not any(".000003." in name for name in some)
    assert any(".000003." in name for name in everything)
    assert set(some) < set(everything) | set(some)


def test_an_older_file_than_what_was_seen_is_refused_and_changes_nothing(world: World) -> None:
    old = world.export("old.tar")
    world.publish(SECOND, 2)
    world.take(world.export("new.tar"))
    assert world.relay.refresh()
    with pytest.raises(TrustError):
        world.take(old)
    assert world.relay.refresh()
    assert world.device_gets(2) == SECOND


def changed(file: Path, *, leave: str = "", add: tuple[str, bytes] | None = None, spoil: str = "") -> Path:
    """Return a copy of an export without a file, with one more, or with one byte of one changed."""
    out = file.with_name("changed.tar")
    with tarfile.open(file) as archive, tarfile.open(out, "w") as written:
        for member in archive:
            data = archive.extractfile(member).read()  # type: ignore[union-attr]
            if leave and leave in member.name:
                continue
            if spoil and spoil in member.name:
                data = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
            written.addfile(member, io.BytesIO(data))
        if add is not None:
            member = tarfile.TarInfo(add[0])
            member.size = len(add[1])
            written.addfile(member, io.BytesIO(add[1]))
    return out


@pytest.mark.parametrize("spoil", [".onnx", "timestamp.json", "snapshot.json", "rollout.json", "manual.json", ".card.json"])
def test_a_changed_byte_anywhere_is_refused(world: World, spoil: str) -> None:
    with pytest.raises((TrustError, LinkError)):
        world.take(changed(world.export(), spoil=spoil))
    assert not carried.folder_of(world.state).exists()
    assert not list(world.state.glob(".carried-*"))


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "metadata/../evil.json", "targets/a/b", "metadata/sub/x.json", f"targets/{'../' * 3}{'0' * 64}.x", "x.json"],
)
def test_a_name_no_repository_has_is_refused_before_it_is_written(world: World, name: str) -> None:
    with pytest.raises(InputError, match="which no repository has"):
        world.take(changed(world.export(), add=(name, b"{}")))
    assert not (world.root / "evil").exists()


def test_a_target_that_nobody_signed_and_one_that_is_missing(world: World) -> None:
    with pytest.raises(TrustError, match="nobody who may has signed"):
        world.take(changed(world.export(), add=(f"targets/models/student/manual/{'0' * 64}.000009.onnx", b"x")))
    world.take(changed(world.export(), leave=".onnx"))  # what is not there is asked for when the cloud is
    assert world.relay.refresh()
    with pytest.raises(LinkError):
        world.device_gets(1)


def test_links_bombs_and_other_files_are_refused(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        member = tarfile.TarInfo("metadata/timestamp.json")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    (tmp_path / "noise.tar").write_bytes(bytes(range(256)) * 9)
    for name in ("link.tar", "noise.tar", "missing.tar"):
        with pytest.raises(InputError):
            world.take(tmp_path / name)
    good = world.export()
    monkeypatch.setattr(carried, "LARGEST_BYTES", 1000)
    with pytest.raises(InputError, match="more than a site's releases"):
        world.take(good)


def test_an_export_lasts_as_long_as_it_says_and_not_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="up to 30 days"):
        export.export(world.repository, releases.FLEET, world.root / "x.tar", lasts_s=31 * DAY_S)
    found = export.export(world.repository, releases.FLEET, world.root / "x.tar", lasts_s=FAR)
    with tarfile.open(world.root / "x.tar") as archive:
        stamp = json.load(archive.extractfile("metadata/timestamp.json"))  # type: ignore[arg-type]
    assert stamp["signed"]["version"] == found.version
    real = json.loads((world.repository.folder / "metadata" / "timestamp.json").read_text())
    assert stamp["signed"]["expires"] > real["signed"]["expires"]


def test_the_command_says_what_it_wrote_and_what_is_missing(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["release", "export", "--help"])
    assert told.exit_code == 0
    assert "terrace region release import" in told.output
