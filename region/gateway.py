"""The region's HTTPS listener for devices (mutual TLS under the edge anchor): the key announcement and the release relay.

Who calls is what the certificate says; every route declares its role, and a revoked device gets nothing.

    GET /v1/key                     the signed announcement of the region's key
    GET /v1/dictionaries/<sha256>   a dictionary that the announcement names
    GET /tuf/metadata/<name>        release metadata, from the cache (region.relay)
    GET /tuf/targets/<path>         models, deltas and cards (Range)
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import Depends, FastAPI, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, Response

from shared.errors import AccessError, IdentityError, LinkError, ProtocolError, StorageError, TerraceError, TrustError
from shared.identity.names import Peer
from shared.serving import peer_from_scope
from shared.wire.messages import encode
from shared.wire.shelf import Shelf

STATUS = {IdentityError: 403, AccessError: 404, ProtocolError: 400, TrustError: 502, LinkError: 503, StorageError: 507}
BINARY = "application/octet-stream"


class Relay(Protocol):
    """Where release files come from."""

    def metadata(self, name: str) -> Path:
        """Return the cached file of a metadata name.

        Raises:
            AccessError: there is no such file.
            LinkError: it is not here and the cloud cannot be reached.
        """

    def target(self, path: str) -> Path:
        """Return the cached file of a target's path; raises like `metadata`."""


class DeviceCheck:
    """The dependency of every route: lets devices of this fleet through and nobody else.

    Args:
        fleet: the fleet's name.
        regions: the regions whose devices are let in.
        is_revoked: whether a device is revoked.
    """

    role = "device"

    def __init__(self, fleet: str, regions: Collection[str], is_revoked: Callable[[Peer], bool]) -> None:
        self._fleet = fleet
        self._regions = regions
        self._is_revoked = is_revoked

    def __call__(self, request: Request) -> Peer:
        """Return who calls.

        Raises:
            IdentityError: no device of this region, or a revoked one.
        """
        peer = peer_from_scope(request.scope, tier="edge", fleet=self._fleet)
        if peer.region not in self._regions:
            raise IdentityError(f"{peer.common_name} is no device of {', '.join(self._regions)}.")
        if self._is_revoked(peer):
            raise IdentityError(f"{peer.common_name} is revoked.")
        return peer


def machines_app(
    *,
    fleet: str,
    regions: Collection[str],
    is_revoked: Callable[[Peer], bool],
    announcement: Callable[[], bytes],
    relay: Relay | None,
    shelf: Shelf | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        fleet: the fleet's name.
        regions: the region's name, and those of the regions whose devices are let in.
        is_revoked: whether a device is revoked.
        announcement: returns the signed key announcement.
        relay: the release cache, where the region has a cloud.
        shelf: the dictionaries.
    """
    device = [Depends(DeviceCheck(fleet, regions, is_revoked))]
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(TerraceError, _refused)

    @app.get("/v1/key", dependencies=device)
    def key() -> Response:
        return Response(announcement(), media_type=BINARY)

    @app.get("/v1/dictionaries/{digest}", dependencies=device)
    def dictionary(digest: Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$")]) -> Response:
        found = None if shelf is None else shelf.named(bytes.fromhex(digest))
        if found is None:
            raise AccessError("there is no such dictionary.")
        return Response(encode(found), media_type=BINARY)

    @app.get("/tuf/metadata/{name}", dependencies=device)
    def metadata(name: str) -> FileResponse:
        return FileResponse(_relay(relay).metadata(name), media_type=BINARY)

    @app.get("/tuf/targets/{path:path}", dependencies=device)
    def target(path: str) -> FileResponse:
        return FileResponse(_relay(relay).target(path), media_type=BINARY)

    return app


def role_of(route: object) -> str | None:
    """Return the role a route declares, or None where it declares none; for the test that walks the routes."""
    for dependency in getattr(route, "dependencies", ()):
        found = getattr(dependency.dependency, "role", None)
        if isinstance(found, str):
            return found
    return None


def _relay(relay: Relay | None) -> Relay:
    if relay is None:
        raise AccessError("this region relays no releases.")
    return relay


async def _refused(request: Request, error: Exception) -> JSONResponse:
    del request
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": str(error)}, status)
