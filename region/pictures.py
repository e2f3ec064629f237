"""Pictures for people: decoded with limits in a process of its own, encoded anew, so that no byte of a device reaches a browser.

One thread asks the decoder (its child lives as long as that thread). Small pictures leave as PNG, without loss, so that what people
judge is what the expert saw; large ones as WebP. Nothing is kept: the next look decodes again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from region.decoder import Decoder
from shared.errors import InputError, LinkError
from shared.vision import picture as codec
from shared.wire.messages import Picture

LARGEST_LOSSLESS = 512 * 512
QUALITY = 92
MOST_WAITING = 256
TYPES = {"png": "image/png", "webp": "image/webp"}


class Pictures:
    """Opens pictures.

    Args:
        decoder: used and stopped by the thread here alone.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._waiting = 0
        self._thread: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Start the thread; the decoder's child starts with the first picture."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")

    def stop(self) -> None:
        """End the decoder and the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._decoder.stop)
            thread.shutdown(cancel_futures=False)

    def open(self, picture: Picture) -> tuple[bytes, str]:
        """Return a picture's fresh bytes and their media type.

        Raises:
            InputError: it cannot be read.
            LinkError: too many are asked for at once.
        """
        if self._thread is None or self._waiting >= MOST_WAITING:
            raise LinkError("too many pictures are asked for at once.", "Try again in a moment.")
        self._waiting += 1
        try:
            return self._thread.submit(self._open, picture).result()
        except RuntimeError as error:  # the pool's word for having been stopped
            raise InputError(f"the picture cannot be shown: {error}.") from None
        finally:
            self._waiting -= 1

    def _open(self, picture: Picture) -> tuple[bytes, str]:
        pixels = self._decoder.decode(picture)
        chosen = "png" if pixels.shape[0] * pixels.shape[1] <= LARGEST_LOSSLESS else "webp"
        return codec.encode(pixels, codec=chosen, quality=QUALITY).data, TYPES[chosen]
