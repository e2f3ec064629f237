"""The card of a release: what a model is, what it expects, how sure it is, how to check it and where it came from.

JSON beside model.onnx; both are TUF targets. A card without calibration means audit only: the device says so.
"""

from __future__ import annotations

import base64
import hashlib
import math
from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec
import numpy as np
import zstandard

from shared.errors import TrustError

SCHEMA = 3
"""The latest this code knows: 2 has a second look, without which a card's threshold would mean something else; 3 a fit other than
`stretch`, without which boxes would lie elsewhere. Others stay at 1."""
LARGEST_CARD_BYTES = 4 << 20
LARGEST_INPUTS_BYTES = 1 << 24


class CardPart(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the parts of a card; unknown fields of later schemas are ignored."""


class InputSpec(CardPart, frozen=True, kw_only=True):
    """What the network takes: NCHW float32, `value / 255`, then minus `mean` over `std` per channel (RGB).

    `fit` says how a frame of another shape is brought into it (see vision.fit), `padding` is the value around a letterboxed one.
    """

    width: int
    height: int
    channels: int = 3
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    fit: Literal["stretch", "letterbox", "crop"] = "stretch"
    padding: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114


class DetectionSpec(CardPart, frozen=True, kw_only=True):
    """How a detector's output is read: `head` as in vision.tasks.heads ("" finds it from the shape).

    Objects reach `score_threshold`; candidates between `doubt_threshold` and it are told to nobody, but say how sure "no more" is.
    Boxes of one class that overlap by more than `iou_threshold` are one; `most` are told of one frame at most.
    """

    head: str = ""
    score_threshold: float = 0.25
    doubt_threshold: float = 0.02
    iou_threshold: float = 0.5
    most: int = 100


class LearnedScore(CardPart, frozen=True, kw_only=True):
    """A logistic regression on statistics of the logits that says how sure a frame looks; see deferral.learned.

    `weights` follow deferral.learned.STATISTICS; `pairs` has one number per likeliest class and runner-up (row-major), or none.
    """

    weights: tuple[float, ...]
    bias: float
    pairs: tuple[float, ...] = ()


class SecondLook(CardPart, frozen=True, kw_only=True):
    """Frames whose logit margin lies below `below` are run again in these `turns` and their logits averaged; see deferral.second."""

    below: float
    turns: tuple[str, ...]


class Calibration(CardPart, frozen=True, kw_only=True):
    """The deferral threshold and the offline bound behind it.

    A frame is kept when its `score` (see deferral.scores) is at least `threshold`. `risk_bound` is the exact upper bound, with
    probability 1 - `delta` over `units` independent units, on P(kept and student wrong and expert right); `epsilon` was asked for.
    `learned` is the model of the score named `learned`, and of no other.
    """

    score: str
    threshold: float
    epsilon: float
    delta: float
    risk_bound: float
    units: int
    frames: int
    learned: LearnedScore | None = None


class CurvePoint(CardPart, frozen=True, kw_only=True):
    """One point of the deferral curve: at `threshold`, the share deferred and the accuracy of the whole system."""

    threshold: float
    deferred_share: float
    system_accuracy: float


class QualityPoint(CardPart, frozen=True, kw_only=True):
    """What a picture codec and quality cost in bytes, and what the expert's accuracy is on such pictures."""

    codec: str
    quality: int
    bytes_mean: float
    expert_accuracy: float


class SelfTest(CardPart, frozen=True, kw_only=True):
    """Inputs of the seed set or the generator (never vault pictures) and the logits the model must give on them.

    `inputs` is base64 of zstd of uint8 NHWC bytes of `shape`; `logits` has one row per input; `tolerance` is absolute.
    """

    shape: tuple[int, int, int, int]
    inputs: str
    logits: tuple[tuple[float, ...], ...]
    tolerance: float

    def frames(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return the inputs, uint8 of `shape` (N, H, W, C).

        Raises:
            TrustError: the stored bytes do not have that shape.
        """
        size = math.prod(self.shape)
        try:
            packed = base64.b64decode(self.inputs)
            if min(self.shape) < 1 or size > LARGEST_INPUTS_BYTES or zstandard.frame_content_size(packed) != size:
                raise TrustError("the card's self-test inputs do not have the shape they claim.")
            raw = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
        except (zstandard.ZstdError, ValueError) as error:
            raise TrustError(f"the card's self-test inputs cannot be read: {error}.") from error
        return np.frombuffer(raw, np.uint8).reshape(self.shape)


class Lineage(CardPart, frozen=True, kw_only=True):
    """Where a release came from: parent release, federated round, digests of its data, code version and measured figures."""

    parent: int
    round: int
    recipe: str
    data: str
    code: str
    created_at: float
    figures: dict[str, float] = {}


class Card(CardPart, frozen=True, kw_only=True):
    """The card itself. `model` is the family (`student`, `expert`); `release` counts up within the family from 1."""

    model: str
    release: int
    labels: tuple[str, ...]
    input: InputSpec
    self_test: SelfTest
    lineage: Lineage
    task: str = "classification"
    calibration: Calibration | None = None
    deferral_curve: tuple[CurvePoint, ...] = ()
    picture_quality: tuple[QualityPoint, ...] = ()
    onnx_sha256: str = ""
    second_look: SecondLook | None = None
    schema: int = 1
    detection: DetectionSpec | None = None


def schema_of(spec: InputSpec, look: SecondLook | None = None) -> int:
    """Return the schema a card with these parts needs, so that agents which would misread it refuse it (see SCHEMA)."""
    return 3 if spec.fit != "stretch" else 2 if look is not None else 1


def encode_card(card: Card) -> bytes:
    """Return the card as JSON."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1)


def decode_card(data: bytes) -> Card:
    """Parse a card.

    Raises:
        TrustError: too large, no card, or of a later schema than this code knows.
    """
    if len(data) > LARGEST_CARD_BYTES:
        raise TrustError(f"a card of {len(data)} bytes is larger than {LARGEST_CARD_BYTES}.")
    try:
        card = msgspec.json.decode(data, type=Card)
    except msgspec.MsgspecError as error:
        raise TrustError(f"this is no card: {error}.") from None
    if card.schema > SCHEMA:
        raise TrustError(f"the card has schema {card.schema}, this agent knows {SCHEMA}.", "Update the agent first.")
    return card


def pack_inputs(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    """Return uint8 NHWC frames as a SelfTest's `inputs`."""
    return base64.b64encode(zstandard.ZstdCompressor(level=19).compress(np.ascontiguousarray(frames).tobytes())).decode()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex: how models, cards and deltas are named everywhere."""
    return hashlib.sha256(data).hexdigest()


def target_path(model: str, role: str, release: int, suffix: str) -> str:
    """Return the TUF target path of a file of a release, e.g. `models/student/auto/000002.onnx`.

    Args:
        model: the family.
        role: `manual` (signed by the approver) or `auto` (signed on-line after the gates).
        release: the release's number.
        suffix: `onnx`, `card.json`, or `from-000001.delta`.
    """
    return str(PurePosixPath("models") / model / role / f"{release:06d}.{suffix}")
