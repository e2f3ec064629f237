"""Every message between the tiers, as frozen structs with a fixed order of fields (msgpack arrays).

Here: what is said. Not here: how it is sealed (envelope), where it goes (topics), when it is sent (link.session).

Evolution: fields are only ever appended, with a default; a decoder ignores what it does not know at the end of an array.
A kind number is never reused. What an older side cannot read at all (a kind, a codec, filling) is sent only to whoever said that it
reads that schema: a region in its announcement, a device in the terms of its opening. docs/wire.md has the rule, tests/golden the
bytes of every message, of this schema and the ones before.

Example:
    >>> decode(Credit, encode(Credit(limit=64))).limit
    64
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

import msgspec

from shared.errors import ProtocolError

SCHEMA = 2
"""What this code reads. 1: sealed messages, zstd. 2: frames, dictionaries, filling to size classes, held cases."""
LARGEST_MESSAGE_BYTES = 1 << 20
"""What a decoder takes at most, checked before anything is parsed."""


class Kind(IntEnum):
    """The kind byte of an envelope. Up: from the device. Down: from the region.

    `HELD_CASE` is a case that another region may have stored too: it is kept and answered, and has no effect.
    """

    OPEN = 1
    CASE = 2
    TELEMETRY = 3
    UPDATE_REPORT = 4
    FRAME = 5
    HELD_CASE = 6
    RECEIPT = 16
    ANSWER = 17
    CREDIT = 18
    COMMAND = 19


CASES = (Kind.CASE, Kind.HELD_CASE)
"""The kinds whose body is a case and whose header names its sequence."""


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Base of all messages."""


class Boxes(Message, frozen=True, kw_only=True, array_like=True):
    """Objects in one frame, in little-endian columns of unsigned 16-bit numbers (see vision.tasks.shapes).

    `places` has x0, y0, x1, y1 of each in 65535ths of the frame's width and height, `scores` in 65535ths, `classes` the labels' numbers,
    `tracks` the number of the object in its stream (32 bits), or nothing where nobody follows objects.
    """

    places: bytes
    scores: bytes
    classes: bytes
    tracks: bytes = b""


class Mask(Message, frozen=True, kw_only=True, array_like=True):
    """The class of every pixel of one frame, at `width` by `height`: row by row, runs of (16-bit length, 16-bit class), little-endian."""

    width: int
    height: int
    runs: bytes


class Prediction(Message, frozen=True, kw_only=True, array_like=True):
    """A model's answer to one frame.

    Classification: `index` is the class with the highest logit, `probabilities` the softmax over all classes, as float values.
    Detection: `boxes` are the objects, `probabilities` the highest score of each class, `index` the class of the surest object, or one
    past the last label where there is none. Segmentation: `mask` is the map, `probabilities` the share of pixels of each class, `index`
    the class that covers most of what is no background, else 0.
    """

    index: int
    probabilities: tuple[float, ...]
    boxes: Boxes | None = None
    mask: Mask | None = None


class Picture(Message, frozen=True, kw_only=True, array_like=True):
    """An encoded still picture. `codec` is "webp", "jpeg" or "png"; size in pixels."""

    codec: str
    width: int
    height: int
    data: bytes


class Crop(Message, frozen=True, kw_only=True, array_like=True):
    """Where a picture that is a part of its frame lies in it: corner and size, and the size of the whole frame, in pixels."""

    x: int
    y: int
    width: int
    height: int
    of_width: int
    of_height: int


class Case(Message, frozen=True, kw_only=True, array_like=True):
    """A frame the device sends: a hard case, or an audit sample drawn before any gate.

    `frame` counts every frame of the stream from 0, also the dropped ones; `unit` names what is independent (a board, a
    track); `score` is the policy's (higher is surer) and `threshold` what it was compared with; `captured_at` is in Unix seconds.
    """

    stream: str
    frame: int
    unit: str
    captured_at: float
    reason: str
    is_audit: bool
    score: float
    threshold: float
    release: int
    prediction: Prediction
    picture: Picture
    crop: Crop | None = None
    """Which part of the frame the picture is, None for the whole; predictions are about the whole frame all the same."""


class StreamCounts(Message, frozen=True, kw_only=True, array_like=True):
    """Frames of one stream since the process started. kept + deferred + audited = frames inferred.

    `last_frame` is the number of the last of them, -1 before the first and where the agent does not say it.
    """

    stream: str
    frames: int
    dropped: int
    kept: int
    deferred: int
    audited: int
    last_frame: int = -1


class LiveWord(Message, frozen=True, kw_only=True, array_like=True):
    """The live risk as a device sees it (see deferral.live), shares from 0 to 1; None: no threshold, or one that does not follow.

    `budget_use` is the share of hard frames that the byte budget lately let through, `held_back` counts the others, `debt` is the part
    of the risk that comes from them. `missing` drawn samples have no answer after patience, `pending` ones are still waited for.
    """

    risk: float
    low: float
    high: float
    audited: int
    is_censored: bool
    threshold: float | None = None
    epsilon: float | None = None
    debt: float = 0.0
    drift: str = ""
    budget_use: float = 1.0
    held_back: int = 0
    missing: int = -1
    """-1 where the agent does not say it."""
    pending: int = 0
    budget_bytes_per_s: float | None = None
    """What the byte budget brings; None without one."""


class ComparedWord(Message, frozen=True, kw_only=True, array_like=True):
    """How often a device's release agrees with the expert beside the one before it, on the audit samples it ran both on.

    On `lost` of `compared` samples only the one before agreed, on `won` only this one.
    """

    release: int
    compared: int
    lost: int
    won: int


class Telemetry(Message, frozen=True, kw_only=True, array_like=True):
    """What a device says of itself every few seconds. `floor` is the lowest open sequence of its spool."""

    at: float
    floor: int
    release: int
    update_state: str
    streams: tuple[StreamCounts, ...]
    spool_cases: int
    spool_bytes: int
    evicted: int = 0
    cases_sent: int = 0
    latency_ms_p50: float = 0.0
    spool_in_memory: bool = False
    """Whether new cases wait in memory only, since the device's disk cannot be written."""
    audit_share: float = -1.0
    """The share of frames drawn for audit now; -1 where the agent does not say it."""
    audits_lost: int = 0
    """Audit samples and other cases that were lost before they were spooled, since the process started."""
    live: LiveWord | None = None
    """The live risk of the release in use; None where the agent does not say it."""
    compared: ComparedWord | None = None
    """The newest release that was compared with the one before it; None where none was."""


class UpdateReport(Message, frozen=True, kw_only=True, array_like=True):
    """A device's word on a release: `state` is committed, fallen_back or refused; `reason` says why."""

    at: float
    model: str
    release: int
    from_release: int
    state: str
    reason: str
    bytes_fetched: int = 0
    by_delta: bool = False


class Receipt(Message, frozen=True, kw_only=True, array_like=True):
    """The region has stored these sequences (inclusive ranges) of one spool durably; only this removes a case."""

    vault_id: str
    spool_id: bytes
    ranges: tuple[tuple[int, int], ...]
    credit: int


class Answer(Message, frozen=True, kw_only=True, array_like=True):
    """The expert's prediction for one case."""

    spool_id: bytes
    sequence: int
    prediction: Prediction
    expert_release: int
    at: float


class Credit(Message, frozen=True, kw_only=True, array_like=True):
    """Up to which envelope counter of its epoch a device may send cases. Absolute, never lowered."""

    limit: int


class Command(Message, frozen=True, kw_only=True, array_like=True):
    """A word from the region to one device; `name` is one of the names the device knows, others are ignored."""

    name: str
    argument: str = ""


class KeyAnnouncement(Message, frozen=True, kw_only=True, array_like=True):
    """The region's public key for opening epochs, signed by the region's certificate key (see wire.announce).

    `schema` is what the region reads; `dictionaries` are the SHA-256 digests of those it compresses and decompresses with.
    """

    region: str
    vault_id: str
    key_id: str
    kem: str
    public: bytes
    not_before: int
    not_after: int
    serial: int
    schema: int = 1
    dictionaries: tuple[bytes, ...] = ()


class Terms(Message, frozen=True, kw_only=True, array_like=True):
    """What a device reads and wishes, said in its opening: `schema`, answers filled to size classes, dictionaries it has (SHA-256)."""

    schema: int = 1
    is_padded: bool = False
    dictionaries: tuple[bytes, ...] = ()


OLDEST, NEWEST = Terms(), Terms(schema=SCHEMA)

Any_ = TypeVar("Any_", bound=msgspec.Struct)
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[msgspec.Struct], msgspec.msgpack.Decoder[msgspec.Struct]] = {}


def encode(message: msgspec.Struct) -> bytes:
    """Return the message's canonical bytes."""
    return _encoder.encode(message)


def decode(kind: type[Any_], data: bytes) -> Any_:
    """Parse bytes from another machine.

    Raises:
        ProtocolError: too long, or not a message of this kind.
    """
    if len(data) > LARGEST_MESSAGE_BYTES:
        raise ProtocolError(f"a {kind.__name__} of {len(data)} bytes is longer than {LARGEST_MESSAGE_BYTES}.")
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(data)  # type: ignore[return-value]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a {kind.__name__}: {error}.") from None
