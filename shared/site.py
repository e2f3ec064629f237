"""A people's listener as one ASGI application: pages, signing in, and an API behind them, each answer with the headers of a page.

`/session`, `/invite` and `/password` are signing in (signin.py); `/v1/…` and `/openapi.json` the API, which checks every request itself
(doors.py); everything else is pages (statics.py).
"""

from __future__ import annotations

from shared.signin import PATHS, App, Receive, Scope, Send, headers_of
from shared.statics import HEADERS, Statics, answer

API = ("/v1/", "/openapi.json")


def site(api: App, signin: App, statics: Statics) -> App:
    """Return the application.

    Args:
        api: answers under `/v1/`; also gets the server's lifespan events.
        signin: answers under `signin.PATHS`.
        statics: loaded pages.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await api(scope, receive, send)
        elif scope["path"] in PATHS:
            await signin(scope, receive, send)
        elif scope["path"].startswith(API):
            await api(scope, receive, _guarded(send))
        else:
            await answer(statics, scope["path"], headers_of(scope), scope["method"], send)

    return app


def _guarded(send: Send) -> Send:
    async def guarded(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            said = list(message.get("headers", []))  # type: ignore[call-overload]  # ASGI: pairs of bytes
            names = {name.lower() for name, _ in said}
            extra = {**HEADERS, "cache-control": "no-store"}
            said += [(name.encode(), value.encode()) for name, value in extra.items() if name.encode() not in names]
            message = {**message, "headers": said}
        await send(message)

    return guarded  # type: ignore[return-value]  # a message is a mutable mapping
