"""What the region says, made believable: opened under the current epoch, new, whole and decoded; anything else is dropped. Pure."""

from __future__ import annotations

from shared.errors import ProtocolError
from shared.wire.chunks import Reassembly
from shared.wire.compression import Decompressor
from shared.wire.envelope import INSTANCES_PER_EPOCH, Opener
from shared.wire.epoch import Opening
from shared.wire.messages import Answer, Command, Credit, Kind, Receipt, decode
from shared.wire.replay import ReplayWindow
from shared.wire.shelf import Shelf

Word = Receipt | Answer | Credit | Command
_KINDS: dict[Kind, type[Receipt | Answer | Credit | Command]] = {
    Kind.RECEIPT: Receipt,
    Kind.ANSWER: Answer,
    Kind.CREDIT: Credit,
    Kind.COMMAND: Command,
}


class Downlink:
    """The region's words under one epoch, from all its instances.

    Args:
        opening: of the epoch.
        decompressor: with the dictionaries the device has; None: with none.
    """

    def __init__(self, opening: Opening, decompressor: Decompressor | None = None) -> None:
        self._opener = Opener(opening.keys, epoch=opening.epoch_id, suite=opening.suite, from_region=True)
        self._decompressor = decompressor or Decompressor(Shelf().find)
        self._windows: dict[int, ReplayWindow] = {}
        self._reassembly = Reassembly(limit_bytes=1 << 20)

    def take(self, data: bytes) -> Word | None:
        """Open one envelope; None while chunks of a message are missing.

        Raises:
            ProtocolError: not authentic under this epoch, a replay, or not a message.
        """
        opened = self._opener.open(data)
        header = opened.header
        window = self._windows.get(header.sequence)
        if window is None:
            if len(self._windows) >= INSTANCES_PER_EPOCH:
                raise ProtocolError("too many instances of the region speak in one epoch.")
            window = self._windows[header.sequence] = ReplayWindow()
        if not window.is_new(header.counter):
            raise ProtocolError("the region's message was seen before.")
        window.add(header.counter)
        key = (header.sequence, header.kind)
        whole = self._reassembly.add(key, opened.index, opened.count, header.codec, opened.payload)
        return None if whole is None else decode(_KINDS[header.kind], self._decompressor.decompress(header.codec, whole))
