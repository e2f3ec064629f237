"""Signing in over real TLS: the cookie, the page's own token, what other sites may not do, and the pages with their headers."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from shared.accounts import AccountStore
from shared.audit import AuditLog
from shared.doors import COOKIE
from shared.identity.tls import people_context
from shared.passwords import Cost
from shared.roles import Role
from shared.serving import serve
from shared.sessions import SessionStore
from shared.signin import signin_app
from shared.site import site
from shared.statics import HEADERS, PAGES, Statics

PASSWORD = "three blue herons"


async def api(scope: dict[str, object], receive: object, send: object) -> None:
    """What stands behind the sign-in: an application that answers everything."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"{}"})  # type: ignore[operator]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[SimpleNamespace]:
    path = tmp_path / "people.db"
    accounts, sessions, audit = AccountStore(path, cost=Cost(n=16, r=1, p=1)), SessionStore(path), AuditLog(tmp_path / "audit.db")
    tls = people_context(tmp_path, ["127.0.0.1"], now=time.time())
    app = site(api, signin_app(accounts, sessions, audit), Statics(names={"/": "login.html"}).load())  # type: ignore[arg-type]
    server = serve(app, host="127.0.0.1", port=0, context=tls.context)
    server.start()
    url = f"https://127.0.0.1:{server.port}"
    with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=tls.certificate_path)) as client:
        yield SimpleNamespace(client=client, url=url, accounts=accounts, sessions=sessions, audit=audit)
    server.stop()


def acts(door: SimpleNamespace) -> list[tuple[str, str, str]]:
    return [(entry.who, entry.action, entry.subject) for entry in reversed(door.audit.entries())]


def test_from_the_one_time_link_to_signing_out(door: SimpleNamespace) -> None:
    assert door.client.get("/session").json() == {"label": "", "role": "", "csrf": "", "ends_at": 0.0, "accounts": False}
    code = door.accounts.invite(Role.ADMIN, "first admin")
    first = door.client.post("/invite", json={"code": code, "name": "anna", "password": PASSWORD}, headers={"origin": door.url})
    assert (first.status_code, first.json()["label"], first.json()["role"]) == (200, "anna", "admin")
    cookie = SimpleCookie(first.headers["set-cookie"])[f"{COOKIE}-{door.url.rpartition(':')[2]}"]  # a page on another port keeps its own
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, True, "Strict", "/", "")
    assert first.headers["cache-control"] == "no-store"
    assert door.client.get("/session").json()["label"] == "anna"
    assert door.client.delete("/session").status_code == 403  # no page's token
    assert door.client.delete("/session", headers={"x-csrf-token": first.json()["csrf"]}).status_code == 204
    assert door.client.get("/session").json()["label"] == ""
    again = door.client.post("/session", json={"name": "anna", "password": PASSWORD})
    assert again.json()["role"] == "admin"
    done = [action for _, action, _ in acts(door)]
    assert done == ["account.made", "session.opened", "session.closed", "session.opened"]
    assert door.audit.verify()[0] == 4


def test_the_wrong_are_refused_and_written_down(door: SimpleNamespace) -> None:
    door.accounts.redeem(door.accounts.invite(Role.VIEWER, "bob"), "bob", PASSWORD)
    wrong = door.client.post("/session", json={"name": "bob", "password": "wrong password"})
    typed = door.client.post("/session", json={"name": "My Secret Pass!", "password": ""})
    assert (wrong.status_code, typed.status_code) == (403, 403)
    assert "set-cookie" not in wrong.headers
    assert acts(door) == [("nobody", "session.refused", "bob"), ("nobody", "session.refused", "(not a name)")]


def test_another_site_signs_nobody_in_or_out(door: SimpleNamespace) -> None:
    door.accounts.redeem(door.accounts.invite(Role.VIEWER, "bob"), "bob", PASSWORD)
    body = {"name": "bob", "password": PASSWORD}
    assert door.client.post("/session", json=body, headers={"origin": "https://evil.example"}).status_code == 403
    form = door.client.post("/session", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert form.status_code == 400
    assert door.client.post("/session", json=body, headers={"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name": 1}', b'{"name":"a","password":"b","more":1}', b"\xff", b"[" * 3000])
def test_what_is_no_request_is_refused_in_words(door: SimpleNamespace, body: bytes) -> None:
    answer = door.client.post("/session", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "cannot be read" in answer.json()["error"]) == (400, True)


def test_long_bodies_and_other_methods_are_refused(door: SimpleNamespace) -> None:
    assert door.client.post("/session", content=b" " * 5000, headers={"content-type": "application/json"}).status_code == 400
    assert door.client.put("/session").status_code == 405
    assert door.client.post("/").status_code == 405


def test_a_new_password_ends_the_other_sessions(door: SimpleNamespace) -> None:
    code = door.accounts.invite(Role.ADMIN, "first admin")
    said = door.client.post("/invite", json={"code": code, "name": "anna", "password": PASSWORD}).json()
    other = door.sessions.open(door.accounts.check("anna", PASSWORD))
    body = {"old": PASSWORD, "new": "four red herons here"}
    assert door.client.post("/password", json=body).status_code == 403
    done = door.client.post("/password", json=body, headers={"x-csrf-token": said["csrf"]})
    assert (done.status_code, door.client.get("/session").json()["label"]) == (200, "anna")
    assert door.client.get("/session", headers={"cookie": f"{COOKIE}={other.token}"}).json()["label"] == ""


def test_every_answer_has_the_headers_of_a_page(door: SimpleNamespace) -> None:
    for path in ("/", "/login", "/base.css", "/chart.js", "/icon.svg", "/session", "/v1/x", "/none", "/../people.db", "/%2e%2e/people.db"):
        answer = door.client.get(path)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
        assert answer.status_code == (404 if "none" in path or "people" in path else 200)
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"https?:|\*|data:", policy)


def test_an_unchanged_page_is_not_sent_again(door: SimpleNamespace) -> None:
    first = door.client.get("/base.css")
    assert (first.headers["content-type"], first.headers["content-encoding"]) == ("text/css; charset=utf-8", "gzip")
    assert first.text == (PAGES / "base.css").read_text(encoding="utf-8")
    assert door.client.get("/base.css", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    plain = door.client.get("/base.css", headers={"accept-encoding": "identity"})
    assert int(plain.headers["content-length"]) == len(first.content)
    assert door.client.head("/base.css").content == b""


def test_pages_have_nothing_inline_and_ask_nobody_else() -> None:
    folders = [PAGES, PAGES.parents[1] / "cloud" / "dashboard"]
    for path in [found for folder in folders if folder.is_dir() for found in folder.iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), path
        addresses = set(re.findall(r"https?://[\w./]+", text)) - {"http://www.w3.org/2000/svg"}
        assert addresses == set(), path
        if path.suffix == ".html":
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", text), path
