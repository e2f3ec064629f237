"""Our region, as a process: the daemon itself, with a stopwatch on its receipts. `python -m tests.bench.links.our_region CONFIG`.

Asked `announce`, it announces and says when; asked `stamps`, it says when each receipt was given to the broker.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from region.config import RegionSettings
from region.main import Region
from shared import lifecycle, log
from shared.config import load
from shared.wire.messages import Kind, Message, Receipt
from tests.bench.links.words import answer, asked


class Stopwatch:
    """Notes when receipts go out.

    Args:
        region: the one whose replies are watched.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._send = region.replies.send
        self.stamps: dict[str, float] = {}
        region.replies.send = self.send  # type: ignore[method-assign]

    def send(self, device: str, kind: Kind, message: Message) -> bool:
        """Note the time of a receipt, then send it."""
        if isinstance(message, Receipt):
            at = time.monotonic()
            self.stamps |= {str(number): at for first, last in message.ranges for number in range(first, last + 1)}
        return self._send(device, kind, message)

    def serve(self, ended: threading.Event) -> None:
        """Answer on standard output until standard input ends."""
        for words in asked():
            if words["do"] == "announce":
                at = time.monotonic()
                self._region.outlet.announce_refresh()
                answer(at=at)
            elif words["do"] == "stamps":
                stamps, self.stamps = self.stamps, {}
                answer(stamps=stamps)
            else:
                answer()
        ended.set()


def main(config: Path) -> None:
    """Run the daemon until standard input ends."""
    log.configure(level="warning")
    settings, ended = load(config, RegionSettings), threading.Event()
    region = Region(settings, config)
    threading.Thread(target=Stopwatch(region).serve, args=(ended,), daemon=True).start()
    lifecycle.run(region.parts(), name="region", stopped=ended)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
