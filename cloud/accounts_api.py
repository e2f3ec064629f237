"""The routes by which an admin looks after people: who there is, invitations, roles, leaving."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from cloud.needs import Check
from shared.accounts import LONGEST_INVITATION_S, AccountStore
from shared.audit import AuditLog
from shared.roles import Grant, Role

DAY_S = 86_400.0


class Wish(BaseModel):
    """The body of an invitation."""

    model_config = ConfigDict(extra="forbid")
    role: str
    label: str
    days: float = Field(default=1.0, gt=0, le=LONGEST_INVITATION_S / DAY_S)


class NewRole(BaseModel):
    """The body of a change of role."""

    model_config = ConfigDict(extra="forbid")
    role: str


def add(app: FastAPI, accounts: AccountStore, audit: AuditLog, admin: Check) -> None:
    """Add the routes.

    Args:
        app: the API.
        accounts: the people.
        audit: where every change is written.
        admin: the check for admins.
    """
    by: Any = Depends(admin)

    @app.get("/v1/accounts", dependencies=[Depends(admin)], summary="People with their roles, and open invitations")
    def list_accounts() -> dict[str, Any]:
        return {
            "accounts": [_plain(item, "name", "created_at", "signed_in_at") for item in accounts.accounts()],
            "invitations": [_plain(item, "label", "created_at", "expires_at") for item in accounts.invitations()],
        }

    @app.post("/v1/invitations", status_code=201, summary="Invite somebody: the answer's code is shown this once")
    def invite(wish: Wish, grant: Grant = by) -> dict[str, Any]:
        code = accounts.invite(Role.named(wish.role), wish.label, lifetime_s=wish.days * DAY_S)
        audit.append(grant.label, "invitation.made", wish.label, {"role": wish.role})
        return {"code": code, "path": f"/welcome#code={code}"}

    @app.delete("/v1/invitations/{label}", summary="Withdraw an open invitation")
    def withdraw(label: str, grant: Grant = by) -> dict[str, Any]:
        gone = accounts.withdraw(label)
        audit.append(grant.label, "invitation.withdrawn", label)
        return {"withdrawn": gone}

    @app.post("/v1/accounts/{name}/role", summary="Change what somebody may do, at once")
    def set_role(name: str, wish: NewRole, grant: Grant = by) -> dict[str, Any]:
        role = Role.named(wish.role)
        accounts.set_role(name, role)
        audit.append(grant.label, "account.role", name, {"role": role.name.lower()})
        return {"name": name, "role": role.name.lower()}

    @app.delete("/v1/accounts/{name}", summary="Remove somebody and end their sessions")
    def remove(name: str, grant: Grant = by) -> dict[str, Any]:
        accounts.remove(name)
        audit.append(grant.label, "account.removed", name)
        return {"removed": name}


def _plain(item: Any, *names: str) -> dict[str, Any]:
    return {**{name: getattr(item, name) for name in names}, "role": item.role.name.lower()}
