"""The codec that knows what is in the files: both directions of one block, and of a file's preface. Pure.

What is coded plainly in a block is collected behind its coded part; tables begin anew in each block, so that one can be decoded from the
base, the preface and the heads alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.errors import ProtocolError
from shared.release.delta.container import Inside
from shared.release.delta.frames import compress, decompress
from shared.release.delta.numbers import ordered, packed
from shared.release.delta.plan import PLAIN, Block, Piece, Step
from shared.release.delta.predict import Predictions
from shared.release.delta.rans import LANE_BYTES, MOST_LANES, Decoder, Encoder
from shared.release.delta.residual import Model

LANES_SHARE = 40
"""Lanes may cost about one part in this many of a block's information."""


def encode(block: Block, steps: Sequence[Step], predictions: Predictions, contents: Sequence[bytes]) -> Inside:
    """Return a block that makes the pieces' `contents`."""
    encoder = Encoder()
    model, plain = Model(encoder), []
    for piece, content in zip(block, contents, strict=True):
        step = steps[piece.tensor]
        if step.method == PLAIN:
            plain.append(content)
            predictions.learn(piece, content)
            continue
        field, expected = predictions.predict(piece, step)
        model.code(field, ordered(content, piece.kind) - expected)
        predictions.learn(piece, content)
    lanes = _lanes(encoder)
    return Inside(lanes=lanes, coded=encoder.finish(lanes=lanes), plain=compress(b"".join(plain)) if plain else b"")


def decode(block: Block, steps: Sequence[Step], predictions: Predictions, inside: Inside) -> list[bytes]:
    """Return the contents of a block's pieces.

    Raises:
        ProtocolError: the block is damaged, or belongs elsewhere.
    """
    decoder = Decoder(inside.coded, lanes=inside.lanes)
    plain = _plain([piece for piece in block if steps[piece.tensor].method == PLAIN], inside)
    model, contents = Model(decoder), []
    for piece in block:
        if steps[piece.tensor].method == PLAIN:
            content, plain = plain[: piece.length], plain[piece.length :]
        else:
            field, expected = predictions.predict(piece, steps[piece.tensor])
            expected += model.code(field, None)
            content = packed(expected, piece.kind)
        predictions.learn(piece, content)
        contents.append(content)
    decoder.finish()
    return contents


def _plain(pieces: list[Piece], inside: Inside) -> bytes:
    if bool(pieces) != bool(inside.plain):
        raise ProtocolError("a block of the delta has a part too many, or too few.")
    return decompress(inside.plain, sum(piece.length for piece in pieces)) if pieces else b""


def _lanes(encoder: Encoder) -> int:
    affordable = int(encoder.information_bits()) // (8 * LANES_SHARE * LANE_BYTES)
    return int(np.clip(1 << max(affordable.bit_length() - 1, 0), 1, MOST_LANES))
