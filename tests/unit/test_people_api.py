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

from cloud import fleet as fleets
from cloud import registry as registries
from cloud.database import Database
from cloud.fleet import Fleet
from cloud.ops import ops_app
from cloud.people import people_app, role_of
from cloud.registry import Registry
from shared.access import TokenStore
from shared.roles import Role


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[FastAPI, TokenStore, Registry]]:
    database = Database(tmp_path / "r.db", [registries.SCHEMA, fleets.SCHEMA])
    database.start()
    tokens, registry = TokenStore(tmp_path / "tokens.db"), Registry(database)
    yield people_app(registry=registry, fleet=Fleet(database), tokens=tokens, clock=time.time), tokens, registry
    database.stop()


def test_every_route_declares_a_role(made: tuple[FastAPI, TokenStore, Registry]) -> None:
    app, _, _ = made
    routes = [route for route in app.routes if isinstance(route, Route | APIRoute)]
    assert len(routes) >= 6
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
