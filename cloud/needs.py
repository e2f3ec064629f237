"""Who may use a route of the API for people: a role that every route declares, and a test that walks the routes and fails on one without.

Who asks is settled by `shared.doors`: a bearer token, or a browser's session. Nobody known is answered 401; a request that another site may
have made, or a role that is not enough, 403.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.params import Depends as Dependency
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.doors import Doors
from shared.errors import AccessError
from shared.roles import Grant, Role

BEARER = HTTPBearer(auto_error=False, description="A token made with: terrace cloud token create. Browsers sign in and send a cookie.")
_bearer = Depends(BEARER)
Check = Callable[..., Grant]


def needs(role: Role, doors: Doors) -> Check:
    """Return a dependency that lets through whoever has at least this role, and says so to the route walk."""

    def check(request: Request, scheme: Annotated[HTTPAuthorizationCredentials | None, _bearer]) -> Grant:
        del scheme  # declared for the API's description; the doors read the header themselves
        try:
            grant = doors.who(request.headers)
        except AccessError as error:
            detail = {"error": error.message, "remedy": error.remedy}
            raise HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"}) from None
        doors.vouch(request.headers, request.method)
        grant.require(role)
        return grant

    check.role = role  # type: ignore[attr-defined]  # read by the test that walks the routes
    return check


def role_of(route: Any) -> Role | None:
    """Return the role a route declares, or None where it declares none."""
    for dependency in [*getattr(route, "dependencies", []), *_calls(route)]:
        call = dependency.dependency if isinstance(dependency, Dependency) else dependency
        found = getattr(call, "role", None)
        if isinstance(found, Role):
            return found
    return None


def _calls(route: Any) -> list[Any]:
    dependant = getattr(route, "dependant", None)
    return [item.call for item in dependant.dependencies] if dependant is not None else []
