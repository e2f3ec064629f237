"""One release over real TLS: the cloud's repository, a region's relay behind its device listener, and a device's updater."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from cloud.publish import Repository
from edge.model import ModelSlot, open_model
from edge.shadow import Shadow
from edge.slots import Slots
from edge.swap import Service
from edge.updater import Updater, UpdaterSettings
from region.gateway import machines_app
from region.relay import Relay
from shared.engines.onnx import OnnxEngine
from shared.identity.store import Identity
from shared.identity.tls import server_context
from shared.link.https import HttpsClient
from shared.release.fetch import from_https
from shared.release.trust import TrustedClient
from shared.serving import Server, serve
from shared.wire.messages import UpdateReport
from tests.unit import releases
from tests.unit.pki_fleet import HOSTS, fleet

FIRST, SECOND = releases.model(1, hidden=2000), releases.model(1, moved=0.01, hidden=2000)


def cloud_app(folder: Path) -> FastAPI:
    app = FastAPI()

    @app.get("/tuf/{part}/{path:path}")
    def published(part: str, path: str) -> Response:
        file = folder / part / path
        return FileResponse(file) if file.is_file() else Response(status_code=404)

    return app


@pytest.fixture
def identities(tmp_path: Path) -> dict[str, Identity]:
    authority = fleet(tmp_path / "pki")
    authority.issue_region_device_ca("region-1")
    folders = {
        "cloud": authority.issue_cloud("cloud", HOSTS, destination=tmp_path / "id" / "cloud"),
        "region": authority.issue_region("region-1", "server", HOSTS, destination=tmp_path / "id" / "region"),
        "edge": authority.issue_device("region-1", "edge-1", destination=tmp_path / "id" / "edge"),
    }
    return {name: Identity.load(folder) for name, folder in folders.items()}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "repository", tmp_path / "keys")
    releases.add(made, tmp_path, FIRST, 1)
    releases.desire(made, 1)
    return made


@pytest.fixture
def relay(tmp_path: Path, identities: dict[str, Identity], repository: Repository) -> Iterator[tuple[Relay, Server]]:
    context = server_context(identities["cloud"], client_tier="region")
    cloud = serve(cloud_app(repository.folder), host="127.0.0.1", port=0, context=context)
    cloud.start()
    https = HttpsClient(identities["region"], f"https://127.0.0.1:{cloud.port}")
    fetch = from_https(https.get)
    client = TrustedClient(tmp_path / "region" / "trust", bootstrap_root=repository.root(), fetch=fetch)
    made = Relay(tmp_path / "region" / "cache", client=client, fetch=fetch, on_change=lambda _: None)
    app = machines_app(fleet="acme", regions=("region-1",), is_revoked=lambda _: False, announcement=lambda: b"", relay=made)
    gateway = serve(app, host="127.0.0.1", port=0, context=server_context(identities["region"], client_tier="edge"))
    gateway.start()
    yield made, gateway
    https.close()
    gateway.stop()
    cloud.stop()


def test_a_release_walks_from_the_cloud_to_the_device(
    tmp_path: Path, identities: dict[str, Identity], repository: Repository, relay: tuple[Relay, Server]
) -> None:
    kept, gateway = relay
    assert kept.refresh()
    https = HttpsClient(identities["edge"], f"https://127.0.0.1:{gateway.port}")
    models, served = ModelSlot(), {2: Service()}
    said: list[UpdateReport] = []
    updater = Updater(
        UpdaterSettings(device="edge-1.region-1", fleet="acme", probation_frames=5),
        trust=TrustedClient(tmp_path / "edge" / "trust", bootstrap_root=repository.root(), fetch=from_https(https.get)),
        slots=Slots(tmp_path / "edge" / "slots"),
        models=models,
        load=lambda onnx, card: open_model(onnx, card, OnnxEngine),
        service=lambda release: served.get(release, Service()),
        shadow=Shadow(),
        report=said.append,
        downloads=tmp_path / "edge" / "downloads",
    )
    updater.boot()
    assert updater.check(), updater.status()
    releases.add(repository, tmp_path, SECOND, 2, role="auto", parent=1, bases=(1,))
    releases.desire(repository, 2, role="auto", deltas=(1,))
    assert kept.refresh()
    assert updater.check(), updater.status()
    served[2] = Service(frames=5)
    updater.step()
    assert [(report.release, report.state, report.by_delta) for report in said] == [(1, "committed", False), (2, "committed", True)]
    assert said[1].bytes_fetched < len(SECOND) / 20
    model = models.current()
    assert model is not None
    assert model.card.release == 2
    https.close()
