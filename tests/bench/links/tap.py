"""Everything the broker sees and keeps, searched for marked pictures: messages, memory, files, packets.

As a process, `python -m tests.bench.links.tap SITE FILE`, it subscribes to every device's messages at the broker, behind its TLS, and
appends them to FILE. The memory of the broker is read by root from outside: what passes down to devices passes through it as well.
"""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import msgspec

from shared import log
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link.mqtt import MqttClient
from tests.bench.links.marks import Marked
from tests.bench.links.site import WORKER_PORT

PIECE_BYTES = 16 << 20
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw")


class Seen(msgspec.Struct, kw_only=True):
    """What was searched, in bytes by place, and how many marked bytes were in it."""

    searched: dict[str, int] = {}
    plaintext_bytes: int = 0


class Tap:
    """Searches.

    Args:
        marked: what for.
    """

    def __init__(self, marked: Marked) -> None:
        self._marked = marked
        self._overlap = max(map(len, marked.marks))
        self.seen = Seen()

    def search(self, place: str, data: bytes) -> None:
        """Search some bytes."""
        self.seen.searched[place] = self.seen.searched.get(place, 0) + len(data)
        self.seen.plaintext_bytes += self._marked.found(data)

    def file(self, place: str, path: Path) -> None:
        """Search a file, piece by piece; pieces overlap by the longest mark."""
        with path.open("rb") as file:
            tail = b""
            while piece := file.read(PIECE_BYTES):
                self.search(place, tail + piece)
                tail = piece[-self._overlap + 1 :]

    def memory(self, pid: int) -> None:
        """Search everything a process can write to; one that ends meanwhile is left."""
        try:
            maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
            with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
                for line in maps:
                    if (found := _MAPPING.match(line)) is None:
                        continue
                    start, end = (int(word, 16) for word in found.groups())
                    memory.seek(start)
                    self.search("memory", memory.read(end - start) or b"")
        except OSError:
            return


def main(site: Path, target: Path) -> None:
    """Subscribe and write down until killed."""
    identity = Identity.load(site / "probe")
    with target.open("ab", buffering=0) as file:
        client = MqttClient(
            host="127.0.0.1", port=WORKER_PORT, context=client_context(identity, server_tier="region"),
            client_id=identity.peer.common_name, on_message=lambda topic, payload: file.write(topic.encode() + b"\n" + payload + b"\n"),
            longest_backoff_s=0.3,
        )  # fmt: skip
        client.subscribe(["t/+/up/#"])
        client.start()
        threading.Event().wait()


if __name__ == "__main__":
    log.configure(level="warning")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
