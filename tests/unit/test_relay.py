"""The relay: devices update through it, it serves only what it has checked, and it asks the cloud once."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloud import ceremony
from cloud.publish import Repository
from region.models import RegionModels
from region.relay import Relay
from shared.errors import AccessError, LinkError, TrustError
from shared.release.desired import Desired, DesiredModel
from shared.release.fetch import CHUNK_BYTES, first_of, from_folder, from_https
from shared.release.trust import TrustedClient
from tests.unit import releases

FIRST, SECOND = releases.model(1), releases.model(1, moved=0.01)
ONNX = "models/student/manual/000001.onnx"


class World:
    """A cloud, a region's relay over it, and devices behind the relay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository.create(folder / "repository", folder / "keys")
        releases.add(self.repository, folder, FIRST, 1)
        releases.desire(self.repository, 1)
        self.cut = False
        self.asked: Counter[str] = Counter()
        self.changes: list[int] = []
        self.client = TrustedClient(folder / "region" / "trust", bootstrap_root=self.repository.root(), fetch=self.fetch)
        self.relay = self.make()

    def make(self, **more: Any) -> Relay:
        return Relay(self.folder / "region" / "cache", client=self.client, fetch=self.fetch, on_change=self.changes.append, **more)

    def fetch(self, path: str, offset: int) -> Iterator[bytes]:
        if self.cut:
            raise LinkError("the cloud is gone.")
        self.asked[path] += 1
        yield from from_folder(self.repository.folder)(path, offset)

    def served(self, path: str, offset: int) -> Iterator[bytes]:
        """What a device gets: the relay's two routes."""
        kind, _, name = path.partition("/")
        try:
            file = self.relay.metadata(name) if kind == "metadata" else self.relay.target(name)
        except AccessError:
            raise FileNotFoundError(path) from None
        yield file.read_bytes()[offset:]

    def device(self, name: str = "device", root: bytes | None = None) -> TrustedClient:
        return TrustedClient(self.folder / name, bootstrap_root=root or self.repository.root(), fetch=self.served)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    assert made.relay.refresh()
    return made


def test_a_device_updates_through_the_relay(world: World, tmp_path: Path) -> None:
    device = world.device()
    device.refresh()
    assert device.desired(releases.FLEET).models["student"].release == 1
    assert device.fetch(ONNX, tmp_path / "got").read_bytes() == FIRST
    releases.add(world.repository, tmp_path, SECOND, 2)
    releases.desire(world.repository, 2)
    device.refresh()
    assert device.desired(releases.FLEET).version == 1
    assert world.relay.refresh()
    device.refresh()
    assert device.desired(releases.FLEET).models["student"].release == 2
    assert world.changes == [3, 5]


def test_nothing_new_is_not_announced(world: World) -> None:
    assert world.relay.refresh()
    assert len(world.changes) == 1


def test_many_devices_cost_the_cloud_one_request(world: World, tmp_path: Path) -> None:
    world.asked.clear()

    def update(number: int) -> bytes:
        device = world.device(f"device-{number}")
        device.refresh()
        return device.fetch(ONNX, tmp_path / f"got-{number}").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(update, range(8))) == {FIRST}
    assert [count for path, count in world.asked.items() if path.endswith(".onnx")] == [1]
    assert not any(path.startswith("metadata/") for path in world.asked)


def test_the_relay_serves_on_without_the_cloud(world: World, tmp_path: Path) -> None:
    first = world.device()
    first.refresh()
    first.fetch(ONNX, tmp_path / "warm")
    world.cut = True
    assert not world.relay.refresh()
    assert "cloud is gone" in world.relay.problem
    world.relay = world.make()
    device = world.device("late")
    device.refresh()
    assert device.fetch(ONNX, tmp_path / "got").read_bytes() == FIRST


def test_a_bad_repository_ends_at_the_relay(world: World, tmp_path: Path) -> None:
    good = world.relay.metadata("timestamp.json").read_bytes()
    releases.edit(world.repository.folder / "metadata" / "timestamp.json", version=99)
    assert not world.relay.refresh()
    assert world.relay.metadata("timestamp.json").read_bytes() == good
    assert len(world.changes) == 1
    world.device().refresh()


def test_a_tampered_target_is_not_served(world: World) -> None:
    file = next((world.repository.folder / "targets").rglob("*.onnx"))
    file.write_bytes(b"\0" * len(FIRST))
    name = str(file.relative_to(world.repository.folder / "targets"))
    with pytest.raises(TrustError):
        world.relay.target(name)
    file.write_bytes(FIRST)
    assert world.relay.target(name).read_bytes() == FIRST


def test_a_device_asks_the_next_relay_where_its_own_cannot_be_reached(world: World, tmp_path: Path) -> None:
    asked: list[str] = []

    def gone(path: str, offset: int) -> Iterator[bytes]:
        asked.append(path)
        raise LinkError("the own relay is gone.")
        yield b""

    def broken_off(path: str, offset: int) -> Iterator[bytes]:
        yield next(world.served(path, offset))[:9]
        raise LinkError("the own relay went in the middle.")

    device = TrustedClient(tmp_path / "device", bootstrap_root=world.repository.root(), fetch=first_of([gone, gone, world.served]))
    device.refresh()
    assert device.fetch(ONNX, tmp_path / "got").read_bytes() == FIRST
    assert asked
    nowhere = TrustedClient(tmp_path / "nowhere", bootstrap_root=world.repository.root(), fetch=first_of([gone, gone]))
    with pytest.raises(LinkError):
        nowhere.refresh()
    halved = TrustedClient(tmp_path / "halved", bootstrap_root=world.repository.root(), fetch=first_of([broken_off, world.served]))
    with pytest.raises(LinkError):
        halved.refresh()  # two sources are never pieced together


@pytest.mark.parametrize(
    "name", ["../floors.json", "timestamp", "9.snapshot.json", "2.root.json", "1.evil.json", "..%2f", "", "a" * 500 + ".json"]
)
def test_metadata_that_is_none_is_not_found(world: World, name: str) -> None:
    with pytest.raises(AccessError):
        world.relay.metadata(name)


@pytest.mark.parametrize(
    "path", ["", "../../x", ONNX, "models/student/manual/" + "0" * 64 + ".000001.onnx", "0" * 64 + ".x", "a/../" + "0" * 64 + ".x"]
)
def test_targets_that_are_none_are_not_found(world: World, path: str) -> None:
    with pytest.raises(AccessError):
        world.relay.target(path)


def test_a_device_with_an_older_root_follows(world: World, tmp_path: Path) -> None:
    old_root = world.repository.root()
    for _ in range(2):
        ceremony.renew(world.repository.folder, tmp_path / "keys")
    shutil.rmtree(tmp_path / "region")
    world.client = TrustedClient(tmp_path / "region" / "trust", bootstrap_root=world.repository.root(), fetch=world.fetch)
    world.relay = world.make()
    assert world.relay.refresh()
    device = world.device(root=old_root)
    device.refresh()
    assert device.floors().root == 3


def test_the_cache_keeps_to_its_capacity(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("region.relay.IN_USE_S", -1.0)
    world.relay = world.make(capacity_bytes=len(FIRST) + 2000)
    releases.add(world.repository, tmp_path, SECOND, 2)
    world.relay.refresh()
    device = world.device()
    device.refresh()
    device.fetch(ONNX, tmp_path / "1")
    device.fetch("models/student/manual/000002.onnx", tmp_path / "2")
    cached = list((tmp_path / "region" / "cache" / "targets").iterdir())
    assert [path.read_bytes() for path in cached] == [SECOND]


def test_the_thread_refreshes_when_asked(world: World, tmp_path: Path) -> None:
    changed = threading.Event()
    world.relay = world.make(interval_s=3600)
    world.relay._on_change = lambda version: changed.set()
    world.relay.start()
    try:
        releases.add(world.repository, tmp_path, SECOND, 2)
        for _ in range(100):
            world.relay.ask()
            if changed.wait(0.1):
                break
        assert changed.is_set()
    finally:
        world.relay.stop()


def region_models(world: World, changes: list[str]) -> RegionModels:
    return RegionModels(
        world.folder / "region" / "models", client=world.client, fleet=releases.FLEET, name="region-1", on_change=changes.append
    )


def publish_expert(world: World, release: int, data: bytes) -> None:
    path = world.folder / "expert.onnx"
    path.write_bytes(data)
    world.repository.add_release("expert", "manual", release, path, releases.card(data, release, family="expert"))
    if release == 1:
        world.repository.add_file("models/replay/manual/000001.npz", b"pictures")
    before = world.repository.desired(releases.FLEET)
    assert before is not None
    models = {**before.models, "expert": DesiredModel(release=release), "replay": DesiredModel(release=1)}
    world.repository.set_desired(Desired(version=before.version + 1, fleet=releases.FLEET, models=models))


def test_the_region_follows_its_own_models(world: World) -> None:
    changes: list[str] = []
    models = region_models(world, changes)
    world.relay._on_refresh = models.sync
    assert world.relay.refresh()
    assert (models.current("expert"), models.replay(), models.release("expert")) == (None, None, 0)
    publish_expert(world, 1, FIRST)
    assert world.relay.refresh()
    found, replay = models.current("expert"), models.replay()
    assert found is not None
    assert replay is not None
    assert (found[0].read_bytes(), found[1].release, replay.read_bytes()) == (FIRST, 1, b"pictures")
    assert world.relay.refresh()
    assert changes == ["expert", "replay"]
    publish_expert(world, 2, SECOND)
    assert world.relay.refresh()
    assert (changes[2:], models.release("expert")) == (["expert"], 2)
    again = region_models(world, changes)
    again.start()
    assert changes[3:] == ["expert", "replay"]


def test_a_damaged_expert_is_fetched_again(world: World) -> None:
    publish_expert(world, 1, FIRST)
    models = region_models(world, [])
    world.relay._on_refresh = models.sync
    world.relay.refresh()
    found = models.current("expert")
    assert found is not None
    found[0].write_bytes(b"damaged")
    assert models.current("expert") is None
    again = region_models(world, [])
    again.sync()
    found = again.current("expert")
    assert found is not None
    assert found[0].read_bytes() == FIRST


def test_an_expert_cut_off_half_way_is_finished_later(world: World) -> None:
    models = region_models(world, [])
    world.relay._on_refresh = models.sync
    publish_expert(world, 1, FIRST)
    file = next((world.repository.folder / "targets" / "models" / "expert").rglob("*.card.json"))
    hidden = file.rename(file.with_suffix(".hidden"))
    announced = len(world.changes)
    assert not world.relay.refresh()
    assert models.current("expert") is None
    assert len(world.changes) == announced + 1
    hidden.rename(file)
    assert world.relay.refresh()
    assert models.release("expert") == 1


# The fetch over HTTPS.


class Answer:
    def __init__(self, status: int, body: bytes = b"") -> None:
        self.status, self.body, self.headers = status, body, {}


def test_https_is_read_range_by_range() -> None:
    content = bytes(range(256)) * (CHUNK_BYTES // 128)
    asked = []

    def get(path: str, *, headers: dict[str, str], timeout_s: float, limit_bytes: int) -> Answer:
        first, last = (int(number) for number in headers["Range"].removeprefix("bytes=").split("-"))
        asked.append((path, first))
        return Answer(206, content[first : last + 1]) if first < len(content) else Answer(416)

    fetch = from_https(get)
    assert b"".join(fetch("targets/a b", 0)) == content
    assert b"".join(fetch("x", 100)) == content[100:]
    assert asked[:2] == [("/tuf/targets/a%20b", 0), ("/tuf/targets/a%20b", CHUNK_BYTES)]


@pytest.mark.parametrize(("status", "error"), [(404, FileNotFoundError), (403, FileNotFoundError), (500, LinkError), (503, LinkError)])
def test_https_answers_become_our_errors(status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(from_https(lambda *given, **more: Answer(status))("x", 0))


def test_a_server_without_ranges_is_understood() -> None:
    assert b"".join(from_https(lambda *given, **more: Answer(200, b"0123456789"))("x", 4)) == b"456789"
