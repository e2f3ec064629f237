"""Signing in and out, over any ASGI server: sessions, invitations and one's own password. Framework-free.

    GET    /session                          -> {label, role, csrf, ends_at, accounts}; label is "" for whoever is signed out
    POST   /session  {name, password}        -> the same, and the cookie
    DELETE /session                          -> 204, the cookie is gone
    POST   /invite   {code, name, password}  -> as POST /session; the account is made
    POST   /password {old, new}              -> as POST /session; every other session of the account has ended

Rules, in order: a body is JSON of at most 4 KB under its own content type (which no form of another site can send); the Origin, where there
is one, is ours; leaving and changing need X-CSRF-Token; every outcome stands in the audit log, with the name that was typed only where it
is a possible name (people type passwords into the wrong field).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

import msgspec

from shared import log
from shared.accounts import Account, AccountStore
from shared.doors import Doors, cookie_name, cookie_of, require_same_origin
from shared.errors import AccessError, ProtocolError, StorageError, TerraceError
from shared.passwords import checked_name
from shared.sessions import LIFETIME_S, SessionStore
from shared.statics import respond

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
PATHS = frozenset({"/session", "/invite", "/password"})
LARGEST_BODY_BYTES = 4096
BODY_S = 10.0
_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
FAILED = "sign_in_failed"


class Log(Protocol):
    """Where is written what was done (audit.py)."""

    def append(self, who: str, action: str, subject: str, detail: dict[str, Any] | None = None) -> Any:
        """Write one entry."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /session."""

    name: str
    password: str


class Redemption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /invite."""

    code: str
    name: str
    password: str


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /password."""

    old: str
    new: str


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    body: dict[str, Any] | None = None
    cookie: str = ""


def signin_app(accounts: AccountStore, sessions: SessionStore, audit: Log) -> App:
    """Return the ASGI application for `PATHS`."""
    desk = _Desk(accounts, sessions, audit)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = headers_of(scope)
        try:
            body = await asyncio.wait_for(_body(receive), BODY_S)
            found = await asyncio.to_thread(desk.answer, scope["method"], scope["path"], headers, body)
        except asyncio.TimeoutError:
            found = _Answer(status=408, body={"error": "the request did not come to an end.", "remedy": ""})
        except TerraceError as error:
            found = _Answer(status=_status(error), body={"error": error.message, "remedy": error.remedy})
        extra = {"cache-control": "no-store", **({"set-cookie": found.cookie} if found.cookie else {})}
        await respond(send, found.status, b"" if found.body is None else json.dumps(found.body).encode(), "application/json", extra)

    return app


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return a request's headers by name in lower case; of a repeated one the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


class _Desk:
    """The work behind the paths, in threads: passwords take a while."""

    def __init__(self, accounts: AccountStore, sessions: SessionStore, audit: Log) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._audit = audit
        self._doors = Doors(None, sessions)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        require_same_origin(headers)
        acts: dict[tuple[str, str], Callable[[Mapping[str, str], bytes], _Answer]] = {
            ("GET", "/session"): self._look,
            ("POST", "/session"): self._sign_in,
            ("DELETE", "/session"): self._sign_out,
            ("POST", "/invite"): self._redeem,
            ("POST", "/password"): self._change,
        }
        act = acts.get((method, path))
        return _Answer(status=405 if path in PATHS else 404) if act is None else act(headers, body)

    def _look(self, headers: Mapping[str, str], body: bytes) -> _Answer:
        del body
        accounts = bool(self._accounts.accounts())
        try:
            return self._welcome(cookie_of(headers))
        except AccessError:
            return _Answer(status=200, body={"label": "", "role": "", "csrf": "", "ends_at": 0.0, "accounts": accounts})

    def _sign_in(self, headers: Mapping[str, str], body: bytes) -> _Answer:
        said = _parse(headers, body, Credentials)
        try:
            account = self._accounts.check(said.name, said.password)
        except AccessError:
            self._audit.append("nobody", "session.refused", _possible(said.name))
            raise
        return self._open(headers, account, "session.opened")

    def _sign_out(self, headers: Mapping[str, str], body: bytes) -> _Answer:
        del body
        grant = self._doors.grant(headers, "DELETE")
        self._sessions.close(cookie_of(headers))
        self._audit.append(grant.label, "session.closed", grant.label)
        return _Answer(status=204, cookie=f"{cookie_name(headers)}=; {_ATTRIBUTES}; Max-Age=0")

    def _redeem(self, headers: Mapping[str, str], body: bytes) -> _Answer:
        said = _parse(headers, body, Redemption)
        account = self._accounts.redeem(said.code, said.name, said.password)
        self._audit.append(account.name, "account.made", account.name, {"role": account.role.name.lower()})
        return self._open(headers, account, "session.opened")

    def _change(self, headers: Mapping[str, str], body: bytes) -> _Answer:
        said = _parse(headers, body, Change)
        grant = self._doors.grant(headers, "POST")
        self._accounts.change_password(grant.label, said.old, said.new)
        self._audit.append(grant.label, "password.changed", grant.label)
        return self._open(headers, self._accounts.check(grant.label, said.new), "session.opened")

    def _open(self, headers: Mapping[str, str], account: Account, action: str) -> _Answer:
        session = self._sessions.open(account)
        self._audit.append(account.name, action, account.name)
        cookie = f"{cookie_name(headers)}={session.token}; {_ATTRIBUTES}; Max-Age={LIFETIME_S:.0f}"
        return msgspec.structs.replace(self._welcome(session.token), cookie=cookie)

    def _welcome(self, token: str) -> _Answer:
        found = self._sessions.check(token)
        words = {"label": found.grant.label, "role": found.grant.role.name.lower(), "csrf": found.csrf, "ends_at": found.ends_at}
        return _Answer(status=200, body={**words, "accounts": True})


async def _body(receive: Receive) -> bytes:
    parts, total, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ProtocolError("the caller went away.")
        part = message.get("body", b"")
        more = message.get("more_body", False)
        total += len(part)
        if total > LARGEST_BODY_BYTES:
            raise ProtocolError(f"a body is larger than {LARGEST_BODY_BYTES} bytes.")
        parts.append(part)
    return b"".join(parts)


def _parse(headers: Mapping[str, str], body: bytes, kind: type[Any]) -> Any:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ProtocolError("the body must be application/json.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the body cannot be read: {error}.") from None


def _possible(name: str) -> str:
    try:
        return checked_name(name)
    except AccessError:
        return "(not a name)"


def _status(error: TerraceError) -> int:
    if isinstance(error, StorageError):
        log.get("signin").error(FAILED, error=str(error))
        return 507
    return 403 if isinstance(error, AccessError) else 400
