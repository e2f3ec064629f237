"""The cloud's dashboard over TLS, with a fleet that reports and releases that roll out, for tests and benchmarks with a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cloud.broadcast import Broadcast
from cloud.main import DASHBOARD, PAGE_NAMES
from cloud.people import Desk, people_app
from cloud.picture import Picture
from cloud.rollout_record import describe
from shared.access import TokenStore
from shared.identity.tls import people_context
from shared.roles import Role
from shared.serving import serve
from shared.sessions import SessionStore
from shared.signin import signin_app
from shared.site import site
from shared.statics import PAGES, Statics
from tests.browser import Page
from tests.unit.rollout_parts import World
from tests.unit.test_people_api import desk_of
from tests.waiting import until

PASSWORD = "three plain words"


@contextmanager
def dashboard(folder: Path) -> Iterator[tuple[World, Desk, str]]:
    """Yield the fleet, what stands behind the pages, and their address."""
    world = World(folder)
    world.publish()
    world.now = time.time()
    world.live()
    (folder / "desk").mkdir()
    sessions = SessionStore(folder / "desk" / "people.db")
    desk = desk_of(folder / "desk", world.database, TokenStore(folder / "tokens.db"))
    picture = Picture(
        name="acme",
        database=world.database,
        registry=desk.registry,
        fleet=desk.fleet,
        history=desk.history,
        audit=world.audit,
        clock=time.time,
        rollouts=lambda: [describe(one, world.book.history(one.id)) for one in world.book.rollouts()],
        alerts=desk.board.alerts,
    )
    broadcast = Broadcast(picture.version, picture.topics)
    desk = msgspec.structs.replace(desk, rollouts=world.rollouts, book=world.book, audit=world.audit, picture=picture, broadcast=broadcast)
    tls = people_context(folder, ["localhost", "127.0.0.1"], now=time.time())
    app = site(people_app(desk), signin_app(desk.accounts, sessions, world.audit), Statics([PAGES, DASHBOARD], PAGE_NAMES).load())
    server = serve(app, host="127.0.0.1", port=0, context=tls.context)
    server.start()
    try:
        yield world, desk, f"https://localhost:{server.port}"
    finally:
        broadcast.stop()
        server.stop()
        world.database.stop()


def enter(page: Page, desk: Desk, address: str, role: Role) -> None:
    """Go in by the one-time link, as somebody who was invited does."""
    page.open(f"{address}/welcome#code={desk.accounts.invite(role, role.name.lower())}")
    page.type("input[name=username]", role.name.lower())
    page.type("input[name=password]", PASSWORD)
    page.type("input[name=again]", PASSWORD)
    page.click("Make my account")
    until(lambda: page.sees("Overview"), "the overview")
