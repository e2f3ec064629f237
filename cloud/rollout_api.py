"""Rollouts for people over REST: viewers see them, operators start, promote, pause, resume and abort them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException

from cloud.rollout_book import RolloutBook
from cloud.rollout_record import Rollout, describe
from cloud.rollout_states import ACTS, Event
from cloud.rollouts import FAMILY, Rollouts
from shared.errors import FederationError, InputError
from shared.roles import Grant

Reason = Annotated[str, Body(embed=True, max_length=500)]


def add_rollouts(app: FastAPI, *, rollouts: Rollouts, book: RolloutBook, viewer: Any, operator: Any) -> None:
    """Add the routes to an application.

    Args:
        app: the people listener's.
        rollouts: begins rollouts and takes acts.
        book: the rows.
        viewer: dependency that lets viewers through.
        operator: dependency that lets operators through and returns their grant.
    """
    # a default, not an Annotated: FastAPI cannot resolve a local name in an annotation
    asker: Any = Depends(operator)

    @app.get("/v1/rollouts", dependencies=[Depends(viewer)], summary="Rollouts, newest first, with votes, evidence and history")
    def list_rollouts() -> list[dict[str, Any]]:
        return [_shown(item, book) for item in book.rollouts()]

    @app.get("/v1/rollouts/{number}", dependencies=[Depends(viewer)], summary="One rollout")
    def show_rollout(number: int) -> dict[str, Any]:
        return _shown(_found(book, number), book)

    @app.post("/v1/rollouts", status_code=201, summary="Begin to roll a published release out; an open rollout ends in its favour")
    def start_rollout(
        release: Annotated[int, Body(ge=1)],
        model: Annotated[str, Body()] = FAMILY,
        role: Annotated[str, Body()] = "",
        reason: Reason = "",
        grant: Grant = asker,
    ) -> dict[str, Any]:
        begun = rollouts.begin(release, model=model, role=role, who=grant.label, reason=reason)
        return _shown(begun, book)

    @app.post("/v1/rollouts/{number}/{act}", summary="promote, pause, resume or abort a rollout")
    def act_on_rollout(number: int, act: str, reason: Reason = "", grant: Grant = asker) -> dict[str, Any]:
        event = act_named(act)
        _found(book, number)
        return _shown(rollouts.act(number, event, who=grant.label, reason=reason), book)


def act_named(name: str) -> Event:
    """Return a person's act by its name.

    Raises:
        InputError: there is none of that name.
    """
    acts = {event.value: event for event in ACTS}
    if name not in acts:
        raise InputError(f"nothing is done to a rollout by {name!r}.", f"The acts are {', '.join(acts)}.")
    return acts[name]


def _found(book: RolloutBook, number: int) -> Rollout:
    try:
        return book.rollout(number)
    except FederationError as error:
        raise HTTPException(404, {"error": error.message, "remedy": error.remedy}) from None


def _shown(item: Rollout, book: RolloutBook) -> dict[str, Any]:
    return describe(item, book.history(item.id))
