"""The API for regions, on the listener that demands a certificate under the region anchor.

Who calls is what the certificate says (`peer_of_scope`); no header, path or body names a region. A region can reach its own
inbox, the blobs its waiting tasks name, its own uploads, and the release repository, which is public within the fleet.

    GET  /v1/federation/inbox?wait=25      its tasks, as soon as there are any (long poll, one per region)
    POST /v1/federation/replies            a reply to one of its tasks
    POST /v1/reports                       what it says of itself and its devices
    GET  /v1/blobs/<sha256>                a blob of a waiting task (Range)
    HEAD /v1/blobs/<sha256>                how much of its upload is here (404 and Upload-Offset; 200: all)
    PUT  /v1/blobs/<sha256>                the next bytes of an upload (Content-Range)
    GET  /tuf/metadata/<name>, /tuf/targets/<path>   the release repository (Range)
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from cloud import faults
from cloud.auditheads import AuditHeads
from cloud.fleet import Fleet
from cloud.mailbox import Mailbox
from shared.clock import Clock
from shared.errors import AccessError, ProtocolError
from shared.identity.denied import Denied
from shared.identity.names import Peer
from shared.wire.reports import LARGEST_REPORT_BYTES, FleetReport, Inbox, decode_report, encode_report

LARGEST_CHUNK_BYTES = 8 << 20
POLL_S = 0.1
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
PeerOf = Callable[[Request], Peer]


class Machines:
    """What the routes share.

    Args:
        mailbox: tasks, replies and blobs.
        heads: where heads of the regions' audit logs are kept.
        fleet: where reports go.
        repository: folder with `metadata/` and `targets/`.
        peer_of: tells who calls, from the connection's certificate; raises IdentityError.
        denied: regions that are revoked; asked at every request.
        longest_poll_s: how long an inbox request may wait.
        clock: wall time.
    """

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        heads: AuditHeads,
        fleet: Fleet,
        repository: Path,
        peer_of: PeerOf,
        denied: Denied,
        longest_poll_s: float,
        clock: Clock,
    ) -> None:
        self.mailbox = mailbox
        self.heads = heads
        self.fleet = fleet
        self.repository = repository
        self.longest_poll_s = longest_poll_s
        self.clock = clock
        self.is_stopping = threading.Event()
        self._peer_of = peer_of
        self._denied = denied
        self._polls: dict[str, object] = {}

    def region(self, request: Request) -> str:
        """Return the region that calls, from its certificate.

        Raises:
            IdentityError: no certificate, or of another tier or fleet, or the region is revoked.
        """
        region = self._peer_of(request).region
        self._denied.require(region)
        return region

    async def inbox(self, region: str, wait_s: float) -> Inbox:
        """Wait for tasks; a later poll of the same region ends an earlier one, which then returns nothing."""
        own = self._polls[region] = object()
        end = self.clock() + min(max(wait_s, 0.0), self.longest_poll_s)
        await asyncio.to_thread(self.fleet.seen, region, now=self.clock())
        while True:
            tasks = await asyncio.to_thread(self.mailbox.waiting, region, now=self.clock())
            if tasks or self.clock() >= end or self._polls.get(region) is not own or self.is_stopping.is_set():
                return Inbox(tasks=tasks if self._polls.get(region) is own else ())
            await asyncio.sleep(POLL_S)

    def reported(self, region: str, report: FleetReport, certificate: bytes) -> None:
        """Keep what a region says of itself, and the head of its audit log; `certificate` is the one it called with, DER."""
        self.fleet.report(region, report, now=self.clock())
        if report.audit_head is not None:
            self.heads.take(region, report.audit_head, certificate, now=self.clock())

    def fetch(self, region: str, name: str, span: str) -> Response:
        """Return a blob that one of the region's waiting tasks names, or a range of it.

        Raises:
            AccessError: no waiting task of this region names it.
        """
        if not self.mailbox.may_fetch(region, name, now=self.clock()):
            raise AccessError(f"no task of {region} names the blob {name}.")
        blobs = self.mailbox.blobs
        size = blobs.size(name)
        start, end = _span(span, size)
        headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
        if span:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        body = _limited(blobs.stream(name, start=start), end - start)
        return StreamingResponse(body, 206 if span else 200, headers, media_type="application/octet-stream")

    def held(self, region: str, name: str) -> Response:
        """Say how much of an upload is here: 200 when all of it is, else 404 with the offset."""
        blobs = self.mailbox.blobs
        return Response(status_code=200 if blobs.has(name) else 404, headers={"Upload-Offset": str(blobs.offset(region, name))})

    def append(self, region: str, name: str, content_range: str, data: bytes) -> Response:
        """Take the next bytes of an upload: 204 when it is complete, 202 with the new offset, 409 with the right one.

        Raises:
            ProtocolError: a bad range, or nobody asked this region for anything.
        """
        found = _CONTENT_RANGE.fullmatch(content_range)
        if found is None:
            raise ProtocolError("an upload needs a Content-Range: bytes first-last/total.")
        first, last, total = (int(part) for part in found.groups())
        if last - first + 1 != len(data):
            raise ProtocolError("the Content-Range does not fit the body.")
        if not self.mailbox.is_open(region, now=self.clock()):
            raise ProtocolError(f"{region} has no task to upload anything for.")
        blobs = self.mailbox.blobs
        if not blobs.has(name) and (held := blobs.offset(region, name)) != first:
            return Response(status_code=409, headers={"Upload-Offset": str(held)})
        offset = blobs.append(region, name, start=first, total=total, data=data)
        return Response(status_code=204 if offset == total else 202, headers={"Upload-Offset": str(offset)})

    def published(self, part: str, path: str) -> Response:
        """Return a file of the release repository.

        Raises:
            ProtocolError: the path leaves the repository.
        """
        folder = (self.repository / part).resolve()
        file = (folder / path).resolve()
        if folder not in file.parents:
            raise ProtocolError("this path leaves the repository.")
        if not file.is_file():
            return JSONResponse({"error": f"there is no {part}/{path}.", "remedy": ""}, 404)
        return FileResponse(file, media_type="application/octet-stream")


def machines_app(machines: Machines) -> FastAPI:
    """Return the application; every route depends on who calls."""
    app = FastAPI(title="terrace cloud, machines", openapi_url=None, docs_url=None, redoc_url=None)
    faults.install(app)
    # a default, not an Annotated: FastAPI cannot resolve a local name in an annotation
    caller: Any = Depends(machines.region)
    _add_federation(app, machines, caller)
    _add_blobs(app, machines, caller)

    @app.get("/tuf/{part}/{path:path}", dependencies=[caller])
    def published(part: str, path: str) -> Response:
        if part not in {"metadata", "targets"}:
            raise ProtocolError("the repository has metadata and targets.")
        return machines.published(part, path)

    return app


def _add_federation(app: FastAPI, machines: Machines, caller: Any) -> None:
    @app.get("/v1/federation/inbox")
    async def inbox(region: str = caller, wait: Annotated[float, Query(ge=0)] = 0.0) -> Response:
        return _json(encode_report(await machines.inbox(region, wait)))

    @app.post("/v1/federation/replies")
    async def reply(request: Request, region: str = caller) -> Response:
        report = decode_report(await _body(request, LARGEST_REPORT_BYTES))
        if isinstance(report, FleetReport):
            raise ProtocolError("a fleet report is no reply.")
        counts = await asyncio.to_thread(machines.mailbox.answer, region, report, now=machines.clock())
        return JSONResponse({"counts": counts})

    @app.post("/v1/reports")
    async def report(request: Request, region: str = caller) -> Response:
        said = decode_report(await _body(request, LARGEST_REPORT_BYTES))
        if not isinstance(said, FleetReport):
            raise ProtocolError("only a fleet report belongs here.")
        await asyncio.to_thread(machines.reported, region, said, request.scope["extensions"]["tls"]["peer_certificate"])
        return Response(status_code=204)


def _add_blobs(app: FastAPI, machines: Machines, caller: Any) -> None:
    @app.get("/v1/blobs/{name}")
    def fetch(name: str, region: str = caller, span: Annotated[str, Header(alias="range")] = "") -> Response:
        return machines.fetch(region, name, span)

    @app.head("/v1/blobs/{name}")
    def offset(name: str, region: str = caller) -> Response:
        return machines.held(region, name)

    @app.put("/v1/blobs/{name}")
    async def append(name: str, request: Request, region: str = caller, content_range: Annotated[str, Header()] = "") -> Response:
        data = await _body(request, LARGEST_CHUNK_BYTES)
        return await asyncio.to_thread(machines.append, region, name, content_range, data)


async def _body(request: Request, limit_bytes: int) -> bytes:
    parts, total = [], 0
    async for part in request.stream():
        total += len(part)
        if total > limit_bytes:
            raise ProtocolError(f"a body is larger than {limit_bytes} bytes.")
        parts.append(part)
    return b"".join(parts)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _span(header: str, size: int) -> tuple[int, int]:
    if not header:
        return 0, size
    found = _RANGE.fullmatch(header)
    if found is None or int(found[1]) >= size:
        raise ProtocolError(f"the range {header} is not in a blob of {size} bytes.")
    return int(found[1]), min(int(found[2]) + 1, size) if found[2] else size


def _limited(chunks: Iterator[bytes], wanted: int) -> Iterator[bytes]:
    for chunk in chunks:
        if wanted <= 0:
            return
        yield chunk[:wanted]
        wanted -= len(chunk)
