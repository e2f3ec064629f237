"""Stories of the region's page for people, over real TLS and a real vault: who sees a picture, who labels, what is written down."""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from provisioning.testbed.ports import free_ports
from region import liverisk, people
from region.cli import app as commands
from region.config import IdentitySettings, PeopleSettings, RegionSettings
from region.gallery import Gallery, spoken
from region.labelling import Labels
from region.labels import Opinion
from region.peopleparts import people_parts
from region.pictures import Pictures
from region.vault import Incoming, Vault
from shared.accounts import AccountStore
from shared.audit import AuditLog
from shared.doors import Doors
from shared.errors import ConfigurationError
from shared.passwords import Cost
from shared.roles import Role
from shared.sessions import SessionStore
from shared.statics import HEADERS
from shared.vision.picture import encode as encode_picture
from shared.wire.messages import Case, Picture, Prediction, encode

PASSWORD = "three blue herons"
SPOOL = bytes(range(16))
THREE = (0.2, 0.3, 0.5)


def incoming(frame: int, *, device: str = "edge-1.region-1", picture: Picture | None = None) -> Incoming:
    pixels = np.full((24, 24, 3), frame * 9 % 255, np.uint8)
    case = Case(
        stream=f"line-{frame % 2}", frame=frame, unit=f"u{frame}", captured_at=5.0, reason="below_threshold", is_audit=frame % 3 == 0,
        score=0.5, threshold=1.0, release=1, prediction=Prediction(index=frame % 3, probabilities=THREE),
        picture=picture or encode_picture(pixels, quality=100),
    )  # fmt: skip
    return Incoming(device=device, spool=SPOOL, sequence=frame + 1, payload=encode(case), case=case, received_at=100.0 + frame)


LIVE = liverisk.shown({"edge-1.region-1": None}, liverisk.of_region({}, connected={"edge-1.region-1"}, now=0.0), connected=set())


@pytest.fixture
def page(tmp_path: Path) -> Iterator[SimpleNamespace]:
    port = free_ports(1)[0]
    settings = RegionSettings(
        name="region-1", fleet="acme", state=tmp_path, people=PeopleSettings(port=port),
        identity=IdentitySettings(folder=tmp_path / "identity", workers=tmp_path / "workers"),
    )  # fmt: skip
    vault = Vault(settings.vault_path)
    vault.start()
    stored = vault.store([incoming(frame, device=f"edge-{1 + frame % 2}.region-1") for frame in range(30)])
    vault.store_answers([(one.id, Prediction(index=2, probabilities=THREE)) for one in stored], release=1, now=6.0)
    parts = people_parts(settings, vault, lambda: 1, lambda: LIVE)
    for part in parts:
        part.start()
    url = f"https://127.0.0.1:{port}"
    accounts = AccountStore(settings.people_path, cost=Cost(n=16, r=1, p=1))
    yield SimpleNamespace(
        url=url, vault=vault, accounts=accounts, sessions=SessionStore(settings.people_path), audit=AuditLog(settings.audit_path),
        tls=ssl.create_default_context(cafile=tmp_path / "people.pem"), settings=settings,
    )  # fmt: skip
    for part in reversed(parts):
        part.stop()
    vault.stop()


def entered(page: SimpleNamespace, name: str, role: Role = Role.REVIEWER) -> httpx.Client:
    account = page.accounts.redeem(page.accounts.invite(role, name), name, PASSWORD)
    session = page.sessions.open(account)
    headers = {"cookie": f"__Host-terrace={session.token}", "x-csrf-token": session.csrf}
    return httpx.Client(base_url=page.url, verify=page.tls, headers=headers)


def acts(page: SimpleNamespace) -> list[tuple[str, str]]:
    return [(entry.who, entry.action) for entry in reversed(page.audit.entries(limit=500))]


def test_a_reviewer_sees_the_newest_cases_and_their_pictures(page: SimpleNamespace) -> None:
    with entered(page, "ann") as ann:
        found = ann.get("/v1/cases", params={"limit": 20}).json()
        assert [case["frame"] for case in found["cases"]] == list(range(29, 9, -1))
        older = ann.get("/v1/cases", params={"limit": 20, "before": found["next"]}).json()
        assert [case["frame"] for case in older["cases"]] == list(range(9, -1, -1))
        assert older["next"] is None
        case = found["cases"][0]
        assert (case["score"], case["threshold"], case["reason"], case["student"]["label"]) == (0.5, 1.0, "below_threshold", 2)
        assert len(case["case"]) == 32
        answer = ann.get(f"/v1/cases/{case['case']}/picture")
    assert (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"]) == (200, "image/png", "no-store")
    assert all(answer.headers[name] == value for name, value in HEADERS.items())
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), np.full((24, 24, 3), 29 * 9 % 255, np.uint8))
    assert acts(page) == [("ann", "picture.viewed")]


@pytest.mark.parametrize(
    ("chosen", "frames"),
    [
        ({"device": "edge-2.region-1"}, {frame for frame in range(30) if frame % 2}),
        ({"stream": "line-0"}, {frame for frame in range(30) if frame % 2 == 0}),
        ({"kind": "audit"}, {frame for frame in range(30) if frame % 3 == 0}),
        ({"kind": "hard", "stream": "line-1"}, {frame for frame in range(30) if frame % 3 and frame % 2}),
        ({"disagree": "true"}, {frame for frame in range(30) if frame % 3 != 2}),
        ({"label": "1"}, {frame for frame in range(30) if frame % 3 == 1}),
        ({"asks": "mine"}, set(range(30)) - {7}),
        ({"asks": "frozen"}, set()),
        ({"asks": "disputed"}, set()),
    ],
)
def test_filters_show_what_they_say(page: SimpleNamespace, chosen: dict[str, str], frames: set[int]) -> None:
    with entered(page, "ann") as ann:
        seven = next(case for case in ann.get("/v1/cases").json()["cases"] if case["frame"] == 7)
        ann.post(f"/v1/cases/{seven['case']}/label", json={"label": 1}).raise_for_status()
        assert {case["frame"] for case in ann.get("/v1/cases", params=chosen).json()["cases"]} == frames


def test_two_people_label_without_seeing_each_other_and_freeze_a_case(page: SimpleNamespace) -> None:
    with entered(page, "ann") as ann, entered(page, "bob") as bob, entered(page, "cid") as cid:
        case = ann.get("/v1/cases").json()["cases"][0]["case"]
        said = ann.post(f"/v1/cases/{case}/label", json={"label": 0}).json()
        assert (said["state"], said["mine"], said["voices"]) == ("waiting", 0, 1)
        unled = bob.get(f"/v1/cases/{case}").json()
        assert (unled["voices"], unled["words"], unled["asks_me"]) == (1, [], True)
        disputed = bob.post(f"/v1/cases/{case}/label", json={"label": 1}).json()
        assert (disputed["state"], len(disputed["words"])) == ("disputed", 2)
        assert cid.get("/v1/cases", params={"asks": "disputed"}).json()["cases"][0]["case"] == case
        settled = cid.post(f"/v1/cases/{case}/label", json={"label": 1}).json()
        assert (settled["state"], settled["label"], settled["label_source"]) == ("frozen", 1, "person")
        late = ann.post(f"/v1/cases/{case}/label", json={"label": 1})
        assert (late.status_code, "frozen" in late.json()["error"]) == (403, True)
        assert ann.post(f"/v1/cases/{case}/label", json={"label": 9}).status_code in {403, 404}
        assert ann.get("/v1/summary").json()["labels"]["human"] == 1
    labelled = [(entry.who, entry.detail) for entry in reversed(page.audit.entries()) if entry.action == "case.labelled"]
    assert labelled == [
        ("ann", {"label": 0, "state": "waiting"}), ("bob", {"label": 1, "state": "disputed"}), ("cid", {"label": 1, "state": "frozen"}),
    ]  # fmt: skip
    page.audit.verify()


def test_who_may_not_sees_nothing(page: SimpleNamespace) -> None:
    with entered(page, "ann") as ann:
        case = ann.get("/v1/cases").json()["cases"][0]["case"]
    paths = ("/v1/summary", "/v1/cases", f"/v1/cases/{case}", f"/v1/cases/{case}/picture", "/v1/audit")
    with httpx.Client(base_url=page.url, verify=page.tls) as nobody:
        assert {nobody.get(path).status_code for path in paths} == {401}
        assert {nobody.get(path, headers={"authorization": "Bearer terrace_x"}).status_code for path in paths} == {401}
        assert nobody.get("/").status_code == nobody.get("/gallery.js").status_code == 200  # pages hold nothing
    with entered(page, "vera", Role.VIEWER) as viewer:
        assert [viewer.get(path).status_code for path in paths] == [200, 403, 403, 403, 403]
        assert viewer.post(f"/v1/cases/{case}/label", json={"label": 1}).status_code == 403
    with entered(page, "bob") as bob:
        assert bob.get("/v1/audit").status_code == 403
        for name in ("0" * 32, "1", "..", "x" * 32, case.upper()):
            assert bob.get(f"/v1/cases/{name}/picture").status_code == 404
        del bob.headers["x-csrf-token"]
        assert bob.post(f"/v1/cases/{case}/label", json={"label": 1}).status_code == 403
        assert bob.get(f"/v1/cases/{case}/picture", headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert bob.get("/v1/cases", headers={"origin": "https://elsewhere.example"}).status_code == 403
    assert not [action for _, action in acts(page) if action in {"picture.viewed", "case.labelled"}]


def test_a_view_is_written_down_before_the_picture_leaves_and_once(page: SimpleNamespace) -> None:
    with entered(page, "ann") as ann, entered(page, "bob") as bob:
        first, second = (case["case"] for case in ann.get("/v1/cases").json()["cases"][:2])
        for client, case in ((ann, first), (ann, first), (ann, second), (bob, first)):
            assert client.get(f"/v1/cases/{case}/picture").status_code == 200
    views = [entry for entry in page.audit.entries() if entry.action == "picture.viewed"]
    assert [(entry.who) for entry in reversed(views)] == ["ann", "ann", "bob"]
    assert views[0].subject == views[2].subject != views[1].subject
    assert not any(first in entry.subject or second in entry.subject for entry in views)


def test_without_the_audit_log_nothing_is_shown_and_no_word_is_kept(page: SimpleNamespace) -> None:
    with entered(page, "ann") as ann:
        case = ann.get("/v1/cases").json()["cases"][0]["case"]
        page.settings.audit_path.unlink(missing_ok=True)
        page.settings.audit_path.mkdir()
        assert ann.get(f"/v1/cases/{case}/picture").status_code == 507
        assert ann.post(f"/v1/cases/{case}/label", json={"label": 1}).status_code == 507
        assert ann.get(f"/v1/cases/{case}").json()["voices"] == 0


def test_a_picture_that_breaks_decoders_shows_nothing_and_costs_nothing(page: SimpleNamespace) -> None:
    whole = encode_picture(np.zeros((8, 8, 3), np.uint8), codec="png")
    bad = [msgspec.structs.replace(whole, data=b"\x89PNG no"), msgspec.structs.replace(whole, width=60_000, height=60_000)]
    page.vault.store([incoming(100 + number, picture=picture) for number, picture in enumerate(bad)])
    with entered(page, "ann") as ann:
        cases = ann.get("/v1/cases").json()["cases"]
        assert [ann.get(f"/v1/cases/{case['case']}/picture").status_code for case in cases[:3]] == [404, 404, 200]


def test_a_device_that_talks_nonsense_does_not_break_the_page(page: SimpleNamespace) -> None:
    item = incoming(200)
    wild = Prediction(index=-7, probabilities=(float("nan"), float("inf")))
    case = msgspec.structs.replace(
        item.case, captured_at=float("nan"), frame=2**62, score=float("inf"), threshold=float("nan"), prediction=wild, reason="<b>x</b>"
    )
    page.vault.store([msgspec.structs.replace(item, case=case, payload=encode(case))])
    with entered(page, "ann") as ann:
        shown = ann.get("/v1/cases", params={"limit": 3}).json()["cases"]
    assert len(shown) == 3
    assert (shown[0]["captured_at"], shown[0]["score"], shown[0]["student"]) == (0.0, None, {"label": -7, "probabilities": [0.0, 0.0]})


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"label": "1"}', b'{"label": 1, "person": "bob"}', b"[" * 900, b'{"label": 1}' + b" " * 2000]
)
def test_a_malformed_word_is_refused(page: SimpleNamespace, body: bytes) -> None:
    with entered(page, "ann") as ann:
        case = ann.get("/v1/cases").json()["cases"][0]["case"]
        answer = ann.post(f"/v1/cases/{case}/label", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert ann.post(f"/v1/cases/{case}/label", content=b'{"label": 1}', headers={"content-type": "text/plain"}).status_code == 400


def test_a_viewer_sees_the_live_risk_of_the_devices_and_no_case(page: SimpleNamespace) -> None:
    with entered(page, "vera", Role.VIEWER) as viewer:
        told = viewer.get("/v1/live").json()
        assert (told["region"], told["live"], told["devices"]) == ("region-1", LIVE["live"], LIVE["devices"])
        assert viewer.get("/devices").status_code == 200
        assert viewer.get("/v1/cases").status_code == 403
    with httpx.Client(base_url=page.url, verify=page.tls) as nobody:
        assert nobody.get("/v1/live").status_code == 401


def test_every_route_declares_a_role_and_those_with_pictures_a_reviewer_s(page: SimpleNamespace) -> None:
    gallery, sessions = Gallery(page.vault, Labels(page.vault.database), lambda: ()), page.sessions
    app = people.people_app(
        region="r", gallery=gallery, pictures=Pictures.__new__(Pictures), doors=Doors(None, sessions), audit=page.audit,
        clock=lambda: 0.0, expert=lambda: None, live=dict,
    )  # fmt: skip
    roles = {route.path: people.role_of(route) for route in app.routes}
    assert len(roles) >= 7
    assert None not in roles.values()
    assert all(role >= Role.REVIEWER for path, role in roles.items() if path.startswith("/v1/cases"))


def test_the_first_admin_comes_by_a_one_time_link_from_the_terminal(tmp_path: Path, page: SimpleNamespace) -> None:
    config = tmp_path / "region.toml"
    lines = f'name = "region-1"\nfleet = "acme"\nstate = "{tmp_path}"\n[identity]\nfolder = "i"\nworkers = "w"\n'
    config.write_text(lines + f"[people]\nport = {page.settings.people.port}\n", encoding="utf-8")
    made = CliRunner().invoke(commands, ["account", "invite", "--config", str(config)])
    link = next(word for word in made.output.split() if word.startswith("https://"))
    address, _, code = link.partition("/welcome#code=")
    assert address == page.url
    with httpx.Client(base_url=page.url, verify=page.tls) as browser:
        assert browser.get("/welcome").status_code == 200
        said = {"code": code, "name": "ann", "password": PASSWORD}
        assert browser.post("/invite", json=said).json()["role"] == "admin"
        assert browser.get("/v1/audit").json()[-1]["action"] == "invitation.made"
        assert browser.post("/invite", json={**said, "name": "eve"}).status_code == 403
    config.write_text(lines, encoding="utf-8")
    assert isinstance(CliRunner().invoke(commands, ["account", "invite", "--config", str(config)]).exception, ConfigurationError)


def test_a_word_is_hidden_until_one_has_said_one_s_own() -> None:
    words = [Opinion(person="ann", label=1, at=1.0), Opinion(person="bob", label=2, at=2.0)]
    assert spoken(words, "cid")["words"] == []
    assert [word["person"] for word in spoken(words, "BOB")["words"]] == ["ann", "bob"]
    assert spoken([*words, Opinion(person="cid", label=2, at=3.0)], "dan")["label"] == 2


def test_the_pages_ask_nothing_of_other_servers_and_carry_no_script_of_their_own() -> None:
    for path in people.PAGES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text
        assert "innerHTML" not in text
        assert " style=" not in text
        assert "<script>" not in text
