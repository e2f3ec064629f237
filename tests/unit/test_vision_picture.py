"""Pictures are encoded once and decoded with limits."""

import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from shared.errors import InputError
from shared.vision import picture
from shared.vision.frames import Pixels
from shared.wire.messages import Picture


@pytest.fixture
def pixels() -> Pixels:
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, (x + y) * 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize("codec", ["webp", "jpeg", "png"])
def test_round_trip_keeps_size_and_look(pixels: Pixels, codec: str) -> None:
    encoded = picture.encode(pixels, codec=codec, quality=90)
    decoded = picture.decode(encoded)
    assert (encoded.width, encoded.height) == (60, 40)
    assert np.abs(decoded.astype(int) - pixels).mean() < 5


@pytest.mark.parametrize("codec", ["png", "webp"])
def test_lossless_is_exact(pixels: Pixels, codec: str) -> None:
    assert np.array_equal(picture.decode(picture.encode(pixels, codec=codec, quality=100)), pixels)


def test_lower_quality_is_smaller(pixels: Pixels) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    assert len(picture.encode(noisy, quality=20).data) < len(picture.encode(noisy, quality=90).data)


def test_a_picture_larger_than_it_claims_is_refused_before_decoding() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(buffer, "PNG")
    with pytest.raises(InputError, match="3000x3000"):
        picture.decode(Picture(codec="png", width=10, height=10, data=buffer.getvalue()))
    with pytest.raises(InputError, match="larger than"):
        picture.decode(Picture(codec="png", width=3000, height=3000, data=buffer.getvalue()), max_pixels=1 << 20)


@pytest.mark.parametrize("cut", [0, 1, 12, 40])
@pytest.mark.parametrize("codec", ["webp", "jpeg", "png"])
def test_damaged_bytes_are_refused(pixels: Pixels, codec: str, cut: int) -> None:
    whole = picture.encode(pixels, codec=codec)
    with pytest.raises(InputError):
        picture.decode(msgspec.structs.replace(whole, data=whole.data[:cut]))


def test_a_picture_of_another_codec_than_it_claims_is_refused(pixels: Pixels) -> None:
    with pytest.raises(InputError, match="no jpeg"):
        picture.decode(msgspec.structs.replace(picture.encode(pixels, codec="png"), codec="jpeg"))
    with pytest.raises(InputError, match="codec"):
        picture.decode(msgspec.structs.replace(picture.encode(pixels), codec="gif"))
    with pytest.raises(InputError, match="codec"):
        picture.encode(pixels, codec="gif")
    with pytest.raises(InputError, match="RGB"):
        picture.encode(pixels[..., 0])
