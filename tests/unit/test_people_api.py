"""The people listener's routes: every one declares a role, tokens are checked, rounds are asked for by operators only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import Route

from cloud.alertboard import AlertBoard
from cloud.auditheads import AuditHeads
from cloud.broadcast import Broadcast
from cloud.config import Settings
from cloud.configfile import read
from cloud.database import Database
from cloud.fleet import Fleet
from cloud.history import History
from cloud.needs import role_of
from cloud.ops import ops_app
from cloud.people import Desk, people_app
from cloud.picture import Picture
from cloud.publish import Repository
from cloud.registry import Registry
from cloud.rollout_book import RolloutBook
from cloud.rollouts import Rollouts
from cloud.tables import open_registry
from shared.access import TokenStore
from shared.accounts import AccountStore
from shared.audit import AuditLog
from shared.doors import COOKIE, Doors
from shared.passwords import Cost
from shared.roles import Role
from shared.sessions import SessionStore


def settings_in(folder: Path) -> Settings:
    (folder / "cloud.toml").write_text(
        'fleet = "acme"\nstate = "state"\nidentity.folder = "i"\nregions.port = 1\npeople.port = 2\nrepository.keys = "keys"\n'
    )
    return read(folder / "cloud.toml")


def desk_of(folder: Path, database: Database, tokens: TokenStore) -> Desk:
    settings, book = settings_in(folder), RolloutBook(database)
    registry, fleet, history, audit = Registry(database), Fleet(database), History(database), AuditLog(folder / "audit.db")
    picture = Picture(name="demo", database=database, registry=registry, fleet=fleet, history=history, audit=audit, clock=time.time)
    repository = Repository(settings.repository_folder, settings.repository.keys)
    rollouts = Rollouts(settings, book=book, fleet=fleet, repository=repository, audit=audit)
    heads = AuditHeads(database, audit)
    board = AlertBoard(registry=registry, fleet=fleet, book=book, heads=heads, certificates={"the cloud": 1.0}, clock=time.time)
    return Desk(
        registry=registry, fleet=fleet, history=history, picture=picture, broadcast=Broadcast(picture.version, picture.topics),
        accounts=AccountStore(folder / "people.db", cost=Cost(n=16, r=1, p=1)),
        doors=Doors(tokens, SessionStore(folder / "people.db")), audit=audit, rollouts=rollouts, book=book, board=board, clock=time.time,
    )  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[FastAPI, TokenStore, Registry]]:
    database = open_registry(settings_in(tmp_path))
    database.start()
    tokens = TokenStore(tmp_path / "tokens.db")
    desk = desk_of(tmp_path, database, tokens)
    yield people_app(desk), tokens, desk.registry
    database.stop()


def test_every_route_declares_a_role(made: tuple[FastAPI, TokenStore, Registry]) -> None:
    app, _, _ = made
    routes = [route for route in app.routes if isinstance(route, Route | APIRoute)]
    assert len(routes) >= 14
    assert {route.path: role_of(route) for route in routes if role_of(route) is None} == {}
    writing = {route.path: role_of(route) for route in routes if set(route.methods or ()) & {"POST", "PUT", "PATCH", "DELETE"}}
    assert all(role is not None and role >= Role.OPERATOR for role in writing.values())


def test_no_token_no_answer_and_a_viewer_cannot_start_a_round(made: tuple[FastAPI, TokenStore, Registry]) -> None:
    app, tokens, registry = made
    client = TestClient(app)
    for path in ("/v1/rounds", "/v1/fleet", "/v1/releases", "/openapi.json"):
        assert client.get(path).status_code == 401
    assert client.get("/v1/fleet", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    viewer = {"Authorization": "Bearer " + tokens.create(Role.VIEWER, "anna")}
    assert client.get("/v1/fleet", headers=viewer).json() == {"regions": [], "devices": []}
    assert client.post("/v1/rounds", headers=viewer).status_code == 403
    assert [(alert["id"], alert["severity"]) for alert in client.get("/v1/alerts", headers=viewer).json()] == [
        ("certificate/the cloud", "critical")
    ]
    assert registry.rounds() == []
    assert "/v1/rounds" in client.get("/openapi.json", headers=viewer).json()["paths"]


def test_an_operator_asks_for_a_round_and_sees_it(made: tuple[FastAPI, TokenStore, Registry]) -> None:
    app, tokens, _ = made
    client = TestClient(app)
    operator = {"Authorization": "Bearer " + tokens.create(Role.OPERATOR, "bert")}
    first = client.post("/v1/rounds", headers=operator)
    assert (first.status_code, first.json()["requested_by"]) == (201, "bert")
    second = client.post("/v1/rounds", headers=operator)
    assert second.status_code == 409
    assert "round 1 is still open" in second.json()["error"]
    assert client.get("/v1/rounds/1", headers=operator).json()["steps"] == []
    assert client.get("/v1/rounds/9", headers=operator).status_code == 404


def test_a_round_may_name_regions_and_be_a_trial(made: tuple[FastAPI, TokenStore, Registry]) -> None:
    app, tokens, _ = made
    client = TestClient(app)
    operator = {"Authorization": "Bearer " + tokens.create(Role.OPERATOR, "bert")}
    unknown = client.post("/v1/rounds", headers=operator, json={"regions": ["region-1"]})
    assert (unknown.status_code, "no region region-1" in unknown.json()["error"]) == (409, True)
    assert client.post("/v1/rounds", headers=operator, json={"regoins": []}).status_code == 422
    asked = client.post("/v1/rounds", headers=operator, json={"publish": False, "need": True}).json()
    assert (asked["publish"], asked["need"], asked["regions"]) == (False, True, [])


def test_health_and_readiness_are_told_apart() -> None:
    client = TestClient(ops_app(problems=lambda: ["the round worker is not running"], gauges=lambda: {"regions": 2}))
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert "terrace_cloud_regions 2" in client.get("/metrics").text


def test_a_browser_uses_the_same_routes_with_a_session(made: tuple[FastAPI, TokenStore, Registry], tmp_path: Path) -> None:
    app, _, registry = made
    accounts, sessions = AccountStore(tmp_path / "people.db", cost=Cost(n=16, r=1, p=1)), SessionStore(tmp_path / "people.db")
    session = sessions.open(accounts.redeem(accounts.invite(Role.OPERATOR, "bert"), "bert", "three blue herons"))
    client, cookie = TestClient(app, base_url="https://cloud"), {"cookie": f"{COOKIE}={session.token}"}
    assert client.get("/v1/overview", headers=cookie).json()["fleet"][""]["name"] == "demo"
    assert client.post("/v1/rounds", headers=cookie).status_code == 403  # the page's own token is missing
    assert client.post("/v1/rounds", headers={**cookie, "x-csrf-token": session.csrf, "origin": "https://evil"}).status_code == 403
    made_round = client.post("/v1/rounds", headers={**cookie, "x-csrf-token": session.csrf, "origin": "https://cloud"})
    assert (made_round.status_code, registry.rounds()[0].requested_by) == (201, "bert")
    acts = client.get("/v1/audit", headers=cookie).json()
    assert [(entry["who"], entry["action"], entry["subject"]) for entry in acts["entries"]] == [("bert", "round.requested", "round 1")]
    assert acts["head"]["count"] == 1


def test_an_admin_looks_after_people_and_nobody_else_does(made: tuple[FastAPI, TokenStore, Registry], tmp_path: Path) -> None:
    app, tokens, _ = made
    client = TestClient(app)
    admin, operator = ({"Authorization": "Bearer " + tokens.create(role, role.name)} for role in (Role.ADMIN, Role.OPERATOR))
    assert {client.get("/v1/accounts", headers=operator).status_code, client.post("/v1/invitations", headers=operator).status_code} == {403}
    made_link = client.post("/v1/invitations", headers=admin, json={"role": "viewer", "label": "for carl"}).json()
    accounts = AccountStore(tmp_path / "people.db", cost=Cost(n=16, r=1, p=1))
    accounts.redeem(made_link["code"], "carl", "three blue herons")
    accounts.redeem(accounts.invite(Role.ADMIN, "anna"), "anna", "three blue herons")
    assert client.post("/v1/accounts/carl/role", headers=admin, json={"role": "operator"}).json()["role"] == "operator"
    listed = client.get("/v1/accounts", headers=admin).json()
    assert [(item["name"], item["role"]) for item in listed["accounts"]] == [("anna", "admin"), ("carl", "operator")]
    assert client.post("/v1/accounts/carl/role", headers=admin, json={"role": "king"}).status_code == 403
    assert client.post("/v1/invitations", headers=admin, json={"role": "viewer", "label": "x", "days": 99}).status_code == 422
    assert client.delete("/v1/accounts/carl", headers=admin).status_code == 200
    assert client.delete("/v1/accounts/anna", headers=admin).status_code == 403  # the last admin
    acts = [entry["action"] for entry in client.get("/v1/audit", headers=operator).json()["entries"]]
    assert acts == ["account.removed", "account.role", "invitation.made"]
