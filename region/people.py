"""The region's listener for people: the only place where pictures are shown. TLS, sessions, and a role for every route.

    GET  /v1/summary                  what is there and how far labelling has come        viewer
    GET  /v1/live                     the live risk of the devices, each and together     viewer
    GET  /v1/cases?…                  a page of cases (casefilter)                        reviewer
    GET  /v1/cases/{case}             one case                                            reviewer
    GET  /v1/cases/{case}/picture     its picture, never to be kept                       reviewer
    POST /v1/cases/{case}/label       {"label": n}: this person's word on it              reviewer
    GET  /v1/audit                    what people did here, newest first                  admin

Rules, in order:
1. Every request is checked (doors): who, and whether our own page meant it. Every route says its role.
2. A case is called by 16 random bytes; nothing about one case leads to another.
3. Every view of a picture and every word on a case stands in the audit chain before it is answered, under the case's token. A person's
   view of one case counts as one for `ONE_VIEW_S`.
4. Only people who are signed in come in: there are no tokens for programs here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from region import casefilter
from region.casefilter import CaseFilter
from region.gallery import Gallery
from region.labels import Opinion, Verdict
from region.pictures import Pictures
from shared.audit import AuditLog
from shared.clock import Clock
from shared.doors import Doors
from shared.errors import AccessError, InputError, LinkError, ProtocolError, StorageError, TerraceError
from shared.roles import Grant, Role

STATUS = {AccessError: 403, InputError: 404, ProtocolError: 400, LinkError: 503, StorageError: 507}
ONE_VIEW_S = 600.0
MOST_VIEWS = 20_000
LARGEST_BODY_BYTES = 1024
PAGES = Path(__file__).resolve().parent / "pages"
"""The gallery's own files, beside those both tiers share."""
VIEWED, LABELLED = "picture.viewed", "case.labelled"


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a label."""

    label: int


class RoleCheck:
    """The dependency of every route: lets through who has at least this role.

    Args:
        role: the least role.
        doors: who asks.
        touch: whether a request is use of a session; what the page asks by itself is not.
    """

    def __init__(self, role: Role, doors: Doors, *, touch: bool = True) -> None:
        self.role = role
        self._doors = doors
        self._touch = touch

    def __call__(self, request: Request) -> Grant:
        """Return who asks.

        Raises:
            HTTPException: 401, nobody we know.
            AccessError: the role is not enough.
        """
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            found = self._doors.who(headers, touch=self._touch)
        except AccessError as error:
            raise HTTPException(401, {"error": error.message, "remedy": error.remedy}) from None
        self._doors.vouch(headers, request.method)
        found.require(self.role)
        return found


class Views:
    """Notes who saw which case, once in `ONE_VIEW_S`, before the picture leaves. Thread-safe.

    Args:
        audit: where views are noted.
        clock: wall time.
    """

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()

    def note(self, person: str, token: str) -> None:
        """Write a view down; raises StorageError when it cannot be, and then nothing may be shown."""
        now, key = self._clock(), (person, token)
        with self._lock:
            if now - self._seen.get(key, -ONE_VIEW_S) < ONE_VIEW_S:
                return
        self._audit.append(person, VIEWED, f"case {token}")
        with self._lock:
            self._seen[key] = now
            self._seen.move_to_end(key)
            while len(self._seen) > MOST_VIEWS:
                self._seen.popitem(last=False)


def people_app(
    *,
    region: str,
    gallery: Gallery,
    pictures: Pictures,
    doors: Doors,
    audit: AuditLog,
    clock: Clock,
    expert: Callable[[], int | None],
    live: Callable[[], dict[str, Any]],
) -> FastAPI:
    """Return the API behind the page.

    Args:
        region: the region's name.
        gallery: the cases.
        pictures: opens them.
        doors: who asks.
        audit: where views and words are noted.
        clock: wall time.
        expert: returns the expert's release.
        live: returns the live risk of the devices.
    """
    app = FastAPI(title=f"terrace region {region}", version="1", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(TerraceError, _refused)
    viewer: Any = Depends(RoleCheck(Role.VIEWER, doors, touch=False))
    reviewer, admin = (Depends(RoleCheck(role, doors)) for role in (Role.REVIEWER, Role.ADMIN))

    @app.get("/v1/summary")
    def summary(grant: Grant = viewer) -> dict[str, Any]:
        return {"region": region, "now": clock(), "expert_release": expert(), **gallery.summary(grant.label)}

    @app.get("/v1/live", dependencies=[viewer])
    def live_risk() -> dict[str, Any]:
        return {"region": region, "now": clock(), **live()}

    @app.get("/v1/audit", dependencies=[admin])
    def entries(before: int | None = None, limit: int = 100) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(entry) for entry in audit.entries(limit, before)]

    _add_cases(app, gallery, pictures, Views(audit, clock), reviewer)
    _add_labels(app, gallery, reviewer, audit, clock)
    return app


def _add_cases(app: FastAPI, gallery: Gallery, pictures: Pictures, views: Views, reviewer: Any) -> None:
    @app.get("/v1/cases")
    def cases(
        device: str = "",
        stream: str = "",
        label: int | None = None,
        kind: casefilter.Kind = "",
        asks: casefilter.Asked = "",
        disagree: bool = False,
        held_out: bool = False,
        before: int | None = None,
        limit: Annotated[int, Query(ge=1, le=casefilter.LARGEST_PAGE)] = 60,
        grant: Grant = reviewer,
    ) -> dict[str, Any]:
        chosen = CaseFilter(
            device=device, stream=stream, label=label, kind=kind, asks=asks, disagree=disagree, held_out=held_out, before=before
        )
        return gallery.page(chosen, grant.label, limit)

    @app.get("/v1/cases/{case}")
    def one(case: str, grant: Grant = reviewer) -> dict[str, Any]:
        return {**gallery.one(case, grant.label), "token": gallery.token(case)}

    @app.get("/v1/cases/{case}/picture")
    def picture(case: str, grant: Grant = reviewer) -> Response:
        stored = gallery.stored(case)
        views.note(grant.label, gallery.token(case))
        body, kind = pictures.open(stored.case.picture)
        return Response(body, media_type=kind, headers={"cache-control": "no-store", "content-disposition": "inline"})


def _add_labels(app: FastAPI, gallery: Gallery, reviewer: Any, audit: AuditLog, clock: Clock) -> None:
    @app.post("/v1/cases/{case}/label")
    async def label(case: str, request: Request, grant: Grant = reviewer) -> dict[str, Any]:
        word = await _word(request)

        def note(token: str, verdict: Verdict) -> None:
            audit.append(grant.label, LABELLED, f"case {token}", {"label": word.label, "state": verdict.state.value})

        opinion = Opinion(person=grant.label, label=word.label, at=clock())
        return await run_in_threadpool(gallery.say, case, opinion, note)


async def _word(request: Request) -> Word:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ProtocolError("the body must be application/json.")
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > LARGEST_BODY_BYTES:
            raise ProtocolError("the body is too large.")
    try:
        return msgspec.json.decode(data, type=Word)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"the body is no label: {error}.") from None


def role_of(route: object) -> Role | None:
    """Return the role a route declares, or None where it declares none; for the test that walks the routes."""
    dependant = getattr(route, "dependant", None)
    for dependency in dependant.dependencies if dependant is not None else ():
        found = getattr(dependency.call, "role", None)
        if isinstance(found, Role):
            return found
    return None


async def _refused(request: Request, error: Exception) -> JSONResponse:
    del request
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    said = error if isinstance(error, TerraceError) else TerraceError("something went wrong.")
    return JSONResponse({"error": said.message, "remedy": said.remedy}, status)
