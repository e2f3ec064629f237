"""What an HTTP caller sees when something is refused: one status per class of our error tree, the message and the remedy as JSON."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from shared.errors import (
    AccessError,
    FederationError,
    IdentityError,
    InputError,
    ProtocolError,
    StorageError,
    TerraceError,
)

STATUSES: dict[type[TerraceError], int] = {
    AccessError: 403,
    IdentityError: 403,
    FederationError: 409,
    ProtocolError: 400,
    InputError: 400,
    StorageError: 507,
}


def explain(error: TerraceError) -> JSONResponse:
    """Return the answer for one of our errors; 500 for those a caller cannot cause."""
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": error.message, "remedy": error.remedy}, status_code=status)


def install(app: FastAPI) -> None:
    """Make an application answer with `explain`."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        del request
        if not isinstance(error, TerraceError):
            raise error
        return explain(error)

    app.add_exception_handler(TerraceError, handle)
