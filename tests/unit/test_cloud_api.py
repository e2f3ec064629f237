"""The machine listener over real TLS: two regions do a whole federated training through it, and what it refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from cloud import auditheads
from cloud import fleet as fleets
from cloud import mailbox as boxes
from cloud import registry as registries
from cloud.auditheads import AuditHeads
from cloud.blobs import Blobs
from cloud.config import RoundsSection
from cloud.database import Database
from cloud.federation.rounds import STEPS, Rounds
from cloud.federation.training import Start, Training, unpack
from cloud.fleet import Fleet
from cloud.machines import Machines, machines_app
from cloud.mailbox import Mailbox
from cloud.registry import Registry
from provisioning.pki import create_fleet
from region.federation.egress import recorder
from region.federation.inbox import Inbox
from region.federation.reporter import Reporter
from region.jobs import Outcome, Wish
from region.summary import compose
from shared.audit import AuditLog
from shared.errors import FederationError, LinkError
from shared.identity.denied import Denied, Entry, write_revoked
from shared.identity.store import Identity
from shared.identity.tls import server_context
from shared.link.https import HttpsClient
from shared.serving import peer_from_scope, serve
from shared.wire import bundle
from shared.wire.audithead import sign_head
from shared.wire.reports import TaskFailed, decode_report, encode_report
from tests.waiting import until

REGIONS = ("region-1", "region-2")


def tiny() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items() if value.dtype == torch.float32}


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("pki")
    authority = create_fleet(folder / "pki", "demo")
    hosts = ["localhost", "127.0.0.1"]
    authority.issue_cloud("cloud", hosts, destination=folder / "cloud")
    for name in REGIONS:
        authority.issue_region(name, "server", hosts, destination=folder / name)
    authority.issue_region_device_ca("region-1")
    authority.issue_device("region-1", "edge-1", destination=folder / "edge-1")
    return {name: Identity.load(folder / name) for name in ("cloud", *REGIONS, "edge-1")}


@pytest.fixture
def cloud(tmp_path: Path, identities: dict[str, Identity]) -> Iterator[SimpleNamespace]:
    database, blobs = (
        Database(tmp_path / "r.db", [registries.SCHEMA, fleets.SCHEMA, boxes.SCHEMA, auditheads.SCHEMA]),
        Blobs(tmp_path / "blobs"),
    )
    database.start()
    blobs.start()
    mailbox, fleet, registry = Mailbox(database, blobs), Fleet(database), Registry(database)
    (tmp_path / "tuf" / "metadata").mkdir(parents=True)
    (tmp_path / "tuf" / "metadata" / "timestamp.json").write_bytes(b"{}")
    heads = AuditHeads(database, AuditLog(tmp_path / "audit.db"))
    (tmp_path / "secret").write_bytes(b"secret")
    machines = Machines(
        mailbox=mailbox, heads=heads, fleet=fleet, repository=tmp_path / "tuf", longest_poll_s=5.0, clock=time.time,
        peer_of=lambda request: peer_from_scope(request.scope, tier="region", fleet="demo"), denied=Denied(tmp_path / "revoked.json"),
    )  # fmt: skip
    context = server_context(identities["cloud"], client_tier="region")
    server = serve(machines_app(machines), host="127.0.0.1", port=0, context=context)
    server.start()
    yield SimpleNamespace(
        url=f"https://127.0.0.1:{server.port}", mailbox=mailbox, fleet=fleet, registry=registry, heads=heads, root=tmp_path
    )
    machines.is_stopping.set()
    server.stop()
    database.stop()


def step_of(by: float, examples: int) -> Callable[[dict[str, np.ndarray], Wish], Outcome]:  # type: ignore[type-arg]
    """Return a training that takes real optimiser steps on its own pictures."""

    def train(arrays: dict[str, np.ndarray], wish: Wish) -> Outcome:  # type: ignore[type-arg]
        model = tiny()
        model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()}, strict=False)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(wish.seed)
        for _ in range(wish.steps):
            optimiser.zero_grad()
            pictures = torch.randn(8, 3, 3, 3, generator=generator) + by
            nn.functional.cross_entropy(model(pictures), torch.arange(8) % 2).backward()
            optimiser.step()
        return Outcome(arrays=weights_of(model), examples=examples, steps=wish.steps)

    return train


def never(*_: object) -> object:
    raise FederationError("not asked for in this test")


def region(cloud: SimpleNamespace, identity: Identity, train: Callable[..., Outcome], folder: Path, record: Path | None = None) -> Inbox:
    https = HttpsClient(identity, cloud.url, record=recorder(record))
    counts = {"stored": 90, "answered": 90, "train": 80, "evaluation": 10}
    Reporter(https, counts=lambda: counts, status=dict, clock=time.time, pause=lambda s: True).once()
    return Inbox(https, folder, train=train, evaluate=never, pause=lambda s: True)  # type: ignore[arg-type]


def trainer(cloud: SimpleNamespace, deadline_s: float = 30.0) -> Training:
    rules = RoundsSection(minimum_regions=2, minimum_cases=64, minimum_steps=2, steps=5, batch=8, deadline_s=deadline_s)
    return Training(
        registry=cloud.registry, fleet=cloud.fleet, mailbox=cloud.mailbox, rules=rules, judge=None, folder=cloud.root / "rounds",
        start=lambda release: Start(release=release, arrays=weights_of(tiny()), classes=2, side=3),
        pause=lambda s: not threading.Event().wait(min(s, 0.02)),
    )  # fmt: skip


def run_round(cloud: SimpleNamespace, inboxes: list[Inbox], deadline_s: float = 30.0) -> str:
    training = trainer(cloud, deadline_s)
    steps = {name: (lambda current, results: {}) for name in STEPS}
    steps["train"] = lambda current, results: training.train(current, results, base=1)
    steps["aggregate"] = training.aggregate
    current = cloud.registry.request_round("test", now=time.time())
    threads = [threading.Thread(target=inbox.once, kwargs={"wait_s": 5.0}) for inbox in inboxes]
    for thread in threads:
        thread.start()
    ended = Rounds(cloud.registry, steps, close=lambda item: cloud.mailbox.forget(item.number), clock=time.time).run(current)
    for thread in threads:
        thread.join(20)
    return f"{ended.state} {ended.reason}".strip()


def test_two_regions_train_over_tls_and_the_mean_is_exact(cloud: SimpleNamespace, identities: dict[str, Identity]) -> None:
    trains = [step_of(0.0, 100), step_of(2.0, 80)]
    inboxes = [
        region(cloud, identities[name], train, cloud.root / name, cloud.root / f"{name}-egress")
        for name, train in zip(REGIONS, trains, strict=True)
    ]
    assert run_round(cloud, inboxes) == "done"
    found = unpack(cloud.root / "rounds" / "000001" / "aggregate.npz")
    wish = Wish(classes=2, side=3, steps=5, batch=8, seed=1, minimum_cases=64, replay_share=0.5, device_share=0.1)
    alone = [train(weights_of(tiny()), wish) for train in trains]
    for name in ("0.weight", "3.bias"):
        wanted = (alone[0].arrays[name].astype(np.float64) * 100 + alone[1].arrays[name] * 80) / 180
        np.testing.assert_allclose(found[name], wanted, rtol=1e-6)
    regions = [item["region"] for item in cloud.registry.steps(1)[1].result["contributions"]]
    assert regions == list(REGIONS)
    bodies = [path.read_bytes() for path in (cloud.root / "region-1-egress").iterdir()]
    told = [body for body in bodies if body]
    assert told, "nothing was recorded"
    for body in told:  # each is a message of the closed union, or a bundle of Flower's objects
        assert body.startswith(bundle.MAGIC) or decode_report(body)


def test_a_region_that_cannot_train_says_why_and_the_round_fails_loudly(cloud: SimpleNamespace, identities: dict[str, Identity]) -> None:
    def refuse(arrays: object, wish: Wish) -> Outcome:
        raise FederationError(f"3 training cases, {wish.minimum_cases} are needed.")

    good = region(cloud, identities["region-1"], step_of(0.0, 100), cloud.root / "a")
    bad = region(cloud, identities["region-2"], refuse, cloud.root / "b")
    ended = run_round(cloud, [good, bad])
    assert ended.startswith("failed")
    assert "region-2: 3 training cases, 64 are needed" in ended


def test_a_killed_region_sends_the_update_it_had(cloud: SimpleNamespace, identities: dict[str, Identity]) -> None:
    trained: list[int] = []

    def once(arrays: dict[str, np.ndarray], wish: Wish) -> Outcome:  # type: ignore[type-arg]
        trained.append(1)
        return step_of(0.0, 100)(arrays, wish)

    inbox = region(cloud, identities["region-1"], once, cloud.root / "a")
    other = region(cloud, identities["region-2"], step_of(1.0, 100), cloud.root / "b")
    https = inbox._https
    sent: list[str] = []
    original = https.post

    def dying_post(path: str, *arguments: object, **options: object) -> object:
        sent.append(path)
        if len(sent) == 1:
            raise LinkError("the region dies between upload and reply")
        return original(path, *arguments, **options)  # type: ignore[arg-type]

    https.post = dying_post  # type: ignore[method-assign, assignment]

    def twice(**options: float) -> None:
        with pytest.raises(LinkError):
            Inbox.once(inbox, **options)
        Inbox.once(inbox, **options)

    inbox.once = twice  # type: ignore[method-assign, assignment]
    assert run_round(cloud, [inbox, other]) == "done"
    assert trained == [1]
    assert len(sent) == 2


def test_who_calls_is_what_the_certificate_says(cloud: SimpleNamespace, identities: dict[str, Identity], tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="refused our certificate"):
        HttpsClient(_context_as_device(identities), cloud.url).get("/v1/federation/inbox")
    first = HttpsClient(identities["region-1"], cloud.url)
    answer = first.post("/v1/federation/replies", encode_report(TaskFailed(task="000001-train-region-2", reason="x")))
    assert (answer.status, b"region-1 has no task" in answer.body) == (400, True)
    assert first.get("/v1/blobs/" + "0" * 64).status == 403
    (tmp_path / "update").write_bytes(b"x" * 100)
    with pytest.raises(LinkError, match="no task to upload"):
        first.upload("/v1/blobs/" + bundle.sha256(b"x" * 100), tmp_path / "update")


def _context_as_device(identities: dict[str, Identity]) -> object:
    from shared.identity.tls import client_context

    return client_context(identities["edge-1"], server_tier="cloud")


def test_the_repository_is_served_and_nothing_beside_it(cloud: SimpleNamespace, identities: dict[str, Identity]) -> None:
    client = HttpsClient(identities["region-1"], cloud.url)
    assert client.get("/tuf/metadata/timestamp.json").body == b"{}"
    assert client.get("/tuf/metadata/none.json").status == 404
    for path in ("/tuf/metadata/..%2f..%2fsecret", "/tuf/targets/../../secret", "/tuf/secret/x"):
        assert client.get(path).status in {400, 404}
    assert b"secret" not in client.get("/tuf/metadata/..%2f..%2fsecret").body


def test_a_report_that_is_none_of_the_union_is_refused(cloud: SimpleNamespace, identities: dict[str, Identity]) -> None:
    client = HttpsClient(identities["region-1"], cloud.url)
    answer = client.post("/v1/reports", b'{"kind":"picture","data":"AAAA"}', "application/json")
    assert answer.status == 400
    assert client.post("/v1/reports", encode_report(TaskFailed(task="t", reason="r")), "application/json").status == 400
    assert cloud.fleet.regions() == []


def test_the_head_of_a_region_s_audit_log_is_kept_from_its_report(
    cloud: SimpleNamespace, identities: dict[str, Identity], tmp_path: Path
) -> None:
    log, own = AuditLog(tmp_path / "region.db"), identities["region-1"]
    log.append("anna", "case.viewed", "case 1")
    head = sign_head(log.head(), node=own.peer.common_name, at=time.time(), sign=own.sign)
    body = encode_report(compose({}, {"audit_head": msgspec.to_builtins(head)}, now=time.time()))
    assert HttpsClient(own, cloud.url).post("/v1/reports", body, "application/json").status == 204
    assert HttpsClient(identities["region-2"], cloud.url).post("/v1/reports", body, "application/json").status == 204
    assert [kept.head for kept in cloud.heads.heads("region-1")] == [head]
    assert cloud.heads.heads("region-2") == []


def test_a_newer_poll_ends_the_older_one(cloud: SimpleNamespace, identities: dict[str, Identity]) -> None:
    client = HttpsClient(identities["region-1"], cloud.url)
    took: list[float] = []

    def poll() -> None:
        began = time.monotonic()
        client.get("/v1/federation/inbox?wait=5", timeout_s=10)
        took.append(time.monotonic() - began)

    first = threading.Thread(target=poll)
    first.start()
    until(cloud.fleet.regions, "the first poll")
    client.get("/v1/federation/inbox?wait=0", timeout_s=10)
    first.join(10)
    assert took[0] < 3.0


def test_a_revoked_region_gets_nothing_from_its_next_request_on(cloud: SimpleNamespace, identities: dict[str, Identity]) -> None:
    clients = {name: HttpsClient(identities[name], cloud.url) for name in REGIONS}
    path = "/tuf/metadata/timestamp.json"
    assert [clients[name].get(path).status for name in REGIONS] == [200, 200]
    write_revoked(cloud.root / "revoked.json", {"region-2": Entry(at=0.0, reason="stolen")})
    assert [clients[name].get(path).status for name in REGIONS] == [200, 403]
    assert clients["region-2"].get("/v1/federation/inbox?wait=0").status == 403
    (cloud.root / "revoked.json").write_bytes(b"damaged")
    assert clients["region-1"].get(path).status == 507
    write_revoked(cloud.root / "revoked.json", {})
    assert [clients[name].get(path).status for name in REGIONS] == [200, 200]
