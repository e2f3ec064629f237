"""What a session hands out to be sent, and what it counts."""

from __future__ import annotations

import msgspec

from shared.wire.messages import Kind


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """What to send now. A case is read from the spool by the driver, a telemetry made by it; a control message is in `payload`."""

    kind: Kind
    sequence: int = 0
    index: int = 0
    count: int = 1
    payload: bytes = b""


class SessionCounts(msgspec.Struct, kw_only=True):
    """What the session has seen since it was made."""

    cases_sent: int = 0
    receipts: int = 0
    answers: int = 0
    answers_late: int = 0
    answers_absent: int = 0
    answers_unknown: int = 0
    timeouts: int = 0
    control_dropped: int = 0
    control_expired: int = 0
