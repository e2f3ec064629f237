"""The preview: closed until a person on this machine asks for it, open for 15 minutes at most, every opening and entry in the audit log.

What cannot be written down in the audit log does not happen. At its end the listener is gone and no frame is kept.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.preview.door import Door
from edge.preview.listener import HOST, Listener
from edge.preview.still import still
from edge.preview.visit import LASTS_S, Visit, new_code, spoken
from edge.preview.window import Window
from shared import clock, log
from shared.audit import AuditLog
from shared.errors import ConfigurationError, StorageError
from shared.statics import PAGES as SHARED_PAGES
from shared.statics import TYPES

OPENED, CLOSED, NOT_AUDITED = "preview_opened", "preview_closed", "preview_not_audited"
PAGES = Path(__file__).resolve().parent / "pages"
PARTS = {"/": PAGES / "preview.html", **{f"/{name}": PAGES / name for name in ("preview.js", "preview.css")}} | {
    f"/{name}": SHARED_PAGES / name for name in ("base.css", "icon.svg", "theme.js", "dom.js")
}
SOCKET = "preview.sock"


class Preview:
    """The preview of one device.

    Args:
        state: the device's state folder, of the socket and the audit log.
        streams: names of its streams.
        lasts_s: how long it stays open.
    """

    def __init__(self, state: Path, streams: Sequence[str], *, lasts_s: float = LASTS_S) -> None:
        self._streams = tuple(streams)
        self._lasts_s = lasts_s
        self._audit = AuditLog(state / "audit.db")
        self._door = Door(state / SOCKET, {"open": self.open, "close": self.close})
        self._lock = threading.RLock()
        self._visit: Visit | None = None
        self._leaving: Visit | None = None
        self._listener: Listener | None = None
        self._timer: threading.Timer | None = None
        self.window = Window()

    def start(self) -> None:
        """Listen for commands on the local socket; nothing else is opened.

        Raises:
            LinkError: the socket cannot be made.
        """
        self._door.start()

    def stop(self) -> None:
        """Close what is open, and the socket."""
        self._door.stop()
        self._end("the agent ended")

    def status(self) -> dict[str, Any]:
        """Return whether it is open, for how many seconds yet, whether somebody looks, and how many pictures were given."""
        visit = self._visit
        left = max(0.0, visit.until - clock.monotonic()) if visit else 0.0
        return {
            "open": visit is not None,
            "seconds_left": round(left),
            "entered": bool(visit and visit.has_entered),
            "pictures": self.window.pictures,
        }

    def open(self, who: str) -> dict[str, Any]:
        """Open it, with a new code; one that is open ends.

        Raises:
            StorageError: the audit log cannot be written: then it stays closed.
            LinkError: no port can be had.
        """
        with self._lock:
            self._end("opened anew")
            self._audit.append(who, "preview.open", "preview", {"seconds": self._lasts_s})
            code = new_code(secrets.randbelow)
            visit = Visit(code=code, token=secrets.token_urlsafe(32), until=clock.monotonic() + self._lasts_s)
            listener = Listener(self)
            port = listener.start()
            self._visit, self._listener = visit, listener
            self.window.open()
            self._timer = threading.Timer(self._lasts_s, self._end, ("its time was over", visit))
            self._timer.daemon = True
            self._timer.start()
        log.get("preview").warning(OPENED, who=who, seconds=self._lasts_s)
        return {"url": f"http://{HOST}:{port}/", "port": port, "code": spoken(code), "seconds": self._lasts_s}

    def close(self, who: str) -> dict[str, Any]:
        """Close it; returns whether it was open."""
        return {"was_open": self._end(f"closed by {who}")}

    def page(self, path: str) -> tuple[str, bytes] | None:
        """Return a part of the page.

        Raises:
            ConfigurationError: the installation is not whole.
        """
        if path not in PARTS:
            return None
        try:
            return TYPES[PARTS[path].suffix], PARTS[path].read_bytes()
        except OSError as error:
            raise ConfigurationError(f"the page cannot be read: {error}.", "Install terrace again.") from error

    def enter(self, code: str) -> dict[str, Any] | None:
        """Let a browser in.

        Raises:
            StorageError: that cannot be written down.
        """
        with self._lock:
            visit, now = self._visit, clock.monotonic()
            if visit is None:
                return None
            token = visit.enter(code, now)
            if token or visit.refuse():
                self._audit.append("a browser on this machine", "preview.enter" if token else "preview.refuse", "preview")
            return {"token": token, "seconds": round(visit.until - now), "streams": list(self._streams)} if token else None

    def may_look(self, token: str) -> bool:
        """Whether this token may see pictures."""
        visit = self._visit
        return visit is not None and visit.shows(token, clock.monotonic())

    def picture(self, stream: str, after: int, timeout_s: float) -> tuple[bytes, str] | None:
        """Return the next picture of a stream, None when none came in time."""
        inferred = self.window.next(stream, after, timeout_s)
        return None if inferred is None else still(self.window, inferred)

    def leave(self) -> None:
        """Note that the page asks for the end."""
        self._leaving = self._visit

    def after_answer(self) -> None:
        """End what the page wants ended, or what too many wrong codes have ended."""
        visit = self._visit
        if visit is not None and self._leaving is visit:
            self._end("closed on the page", visit)
        elif visit is not None and visit.is_over(clock.monotonic()):
            self._end("too many wrong codes", visit)

    def _end(self, reason: str, only: Visit | None = None) -> bool:
        """End what is open, or one opening if it is still that; returns whether anything was."""
        with self._lock:
            if only is not None and self._visit is not only:
                return False
            listener, self._listener = self._listener, None
            was_open, self._visit = self._visit is not None, None
            self.window.close()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if listener is not None:
            listener.stop()
        if was_open:
            log.get("preview").info(CLOSED, reason=reason)
            try:
                self._audit.append("terrace", "preview.close", "preview", {"reason": reason})
            except StorageError as error:
                log.get("preview").error(NOT_AUDITED, reason=str(error))
        return was_open
