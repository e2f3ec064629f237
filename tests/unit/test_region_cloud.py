"""A region with a cloud: the expert arrives as a release, is swapped in while cases come, and devices fetch through the relay."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from cloud.publish import Repository
from region import main
from shared.errors import IdentityError
from shared.identity.store import Identity
from shared.identity.tls import server_context
from shared.link.https import HttpsClient
from shared.release.card import encode_card, sha256
from shared.release.desired import Desired, DesiredModel
from shared.serving import Server, serve
from shared.wire import topics
from tests.waiting import until

from .pki_fleet import HOSTS
from .region_parts import a_case, an_expert, colour
from .test_region_main import Site, free_ports


class Cloud:
    """A release repository behind real TLS."""

    def __init__(self, site: Site) -> None:
        self._folder, self._site = site.folder, site
        self.repository = Repository.create(site.folder / "repository", site.folder / "repository-keys")
        shutil.copy(site.folder / "repository" / "metadata" / "1.root.json", site.folder / "server" / "releases.root.json")
        site.authority.issue_cloud("cloud", HOSTS, destination=site.folder / "cloud")
        self._identity = Identity.load(site.folder / "cloud")
        self.port = free_ports(1)[0]
        self._server: Server | None = None
        self._version = 0

    def start(self) -> None:
        app = FastAPI()
        app.mount("/tuf", StaticFiles(directory=self._folder / "repository"))
        context = server_context(self._identity, client_tier="region")
        self._server = serve(app, host="127.0.0.1", port=self.port, context=context)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def publish(self, release: int, *, flip: bool = False) -> bytes:
        expert = an_expert(self._folder / "repository-keys", release, flip=flip)
        path = expert._engine._path
        self.repository.add_release("expert", "manual", release, path, encode_card(expert._card))
        self._version += 1
        self.repository.set_desired(Desired(version=self._version, fleet="acme", models={"expert": DesiredModel(release=release)}))
        return path.read_bytes()


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("c"))
    yield site
    site.stop()


@pytest.fixture
def cloud(site: Site) -> Iterator[Cloud]:
    cloud = Cloud(site)
    text = site.config.read_text().replace('[expert]\npath = "000001.onnx"\n', "")
    site.config.write_text(f'{text}[cloud]\nurl = "https://localhost:{cloud.port}"\npoll_interval_s = 0.2\n[training]\nenabled = false\n')
    yield cloud
    cloud.stop()


def test_cases_wait_for_the_first_expert_and_a_newer_one_takes_over(site: Site, cloud: Cloud) -> None:
    site.start()  # the cloud is away: devices are served all the same
    online = site.device("edge-1").open()
    online.publish(*online.device.case(1, a_case(1, picture=colour(250, 0))))
    until(lambda: online.receipted() == {1})
    assert site.status()["expert_release"] is None
    cloud.start()
    model = cloud.publish(1)
    until(lambda: online.answers() == {1: 0}, within_s=15)
    cloud.publish(2, flip=True)
    until(lambda: site.status()["expert_release"] == 2, within_s=15)
    online.publish(*online.device.case(2, a_case(2, picture=colour(250, 0))))
    until(lambda: online.answers() == {1: 0, 2: 1})
    until(lambda: (topics.REFRESH, b"") in online.got)
    _fetch_as_device(site, online.device.identity, model)
    online.close()
    cloud.stop()
    site.stop()
    site.start()  # without the cloud the expert of before answers
    until(lambda: site.status()["expert_release"] == 2)


def _fetch_as_device(site: Site, identity: Identity, model: bytes) -> None:
    relay = HttpsClient(identity, f"https://localhost:{site.ports[2]}")
    path = f"/tuf/targets/models/expert/manual/{sha256(model)}.000001.onnx"
    assert relay.get(path).body == model
    part = relay.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, model[10:20])
    assert b"snapshot.json" in relay.get("/tuf/metadata/timestamp.json").body
    for missing in ("targets/models/../../../region.toml", "targets/nothing", "metadata/../vault.key"):
        assert relay.get(f"/tuf/{missing}").status == 404


def test_a_region_without_the_releases_root_says_what_to_copy(site: Site, cloud: Cloud) -> None:
    (site.folder / "server" / "releases.root.json").unlink()
    with pytest.raises(IdentityError, match=r"Copy 1\.root\.json"):
        main.serve(site.settings, site.config)


def test_an_expert_that_cannot_be_used_leaves_the_one_before(site: Site, cloud: Cloud, tmp_path: Path) -> None:
    cloud.start()
    cloud.publish(1)
    site.start()
    until(lambda: site.status()["expert_release"] == 1, within_s=15)
    broken = tmp_path / "2.onnx"
    broken.write_bytes(b"no model at all")
    expert = an_expert(tmp_path, 2)
    card = msgspec.structs.replace(expert._card, onnx_sha256=sha256(broken.read_bytes()))
    cloud.repository.add_release("expert", "manual", 2, broken, encode_card(card))
    cloud.repository.set_desired(Desired(version=2, fleet="acme", models={"expert": DesiredModel(release=2)}))
    until((site.settings.state / "models" / "expert" / "000002" / "model.onnx").exists, within_s=15)
    online = site.device("edge-1").open()
    online.publish(*online.device.case(1, a_case(1, picture=colour(250, 0))))
    until(lambda: online.answers() == {1: 0})
    assert site.status()["expert_release"] == 1
    online.close()
