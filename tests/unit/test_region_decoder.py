"""The decoder's process: pictures come back as they are, and nothing a picture does reaches the region."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from region.decoder import Decoder
from shared.errors import InputError
from shared.vision.picture import encode
from shared.wire.messages import Picture


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(max_pixels=1 << 20)
    yield decoder
    decoder.stop()


def test_pictures_of_every_codec_come_back_through_one_child(decoder: Decoder) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    assert np.array_equal(decoder.decode(encode(pixels, codec="png")), pixels)
    for codec in ("webp", "jpeg"):
        assert decoder.decode(encode(pixels, codec=codec)).shape == (90, 120, 3)
    assert decoder.starts == 1


def test_refusals_are_said_and_cost_no_child(decoder: Decoder) -> None:
    png = encode(np.zeros((4, 4, 3), np.uint8), codec="png").data
    for broken, word in (
        (Picture(codec="png", width=4, height=4, data=png[:40]), "no png picture"),
        (Picture(codec="png", width=5, height=4, data=png), "its message says 5x4"),
        (Picture(codec="png", width=4000, height=4000, data=png), "larger than"),
        (Picture(codec="gif", width=4, height=4, data=png), "no picture codec"),
    ):
        with pytest.raises(InputError, match=word):
            decoder.decode(broken)
    assert decoder.starts == 1


def test_a_child_that_died_is_replaced_and_the_picture_is_not_blamed(decoder: Decoder) -> None:
    picture = encode(np.full((4, 4, 3), 7, np.uint8), codec="png")
    decoder.decode(picture)
    assert decoder._child is not None
    os.kill(decoder._child.pid, signal.SIGKILL)
    decoder._child.wait()
    assert decoder.decode(picture)[0, 0, 0] == 7
    assert decoder.starts == 2


def test_a_picture_that_never_comes_back_is_refused(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = encode(np.zeros((4, 4, 3), np.uint8), codec="png")
    decoder.decode(picture)
    assert decoder._child is not None
    os.kill(decoder._child.pid, signal.SIGSTOP)
    os.waitpid(decoder._child.pid, os.WUNTRACED)  # it may still answer until it stands
    monkeypatch.setattr("region.decoder.TIMEOUT_S", 0.0)
    monkeypatch.setattr("region.decoder.ATTEMPTS", 1)  # a fresh child may be faster than no time at all
    with pytest.raises(InputError, match="too long"):
        decoder.decode(picture)
    monkeypatch.undo()
    assert decoder.decode(picture).shape == (4, 4, 3)
    assert decoder.starts == 2
