"""An event file on a disk of its own that fills up, played by a process with a mount namespace of its own; nothing is left mounted.

unshare --mount python -m tests.unit.output_scenes FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge.outputs import EventFile
from tests.unit.spool_scenes import mount
from tests.unit.test_outlets import event
from tests.waiting import until

DISK, LEFT = 64 << 10, 4 << 10


def torn_by_a_full_disk(folder: Path) -> None:
    """The disk fills up in the middle of a line; what comes after there is space again stands whole, and every event is counted once."""
    mount("-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder))
    output = EventFile(folder / "events.jsonl")
    output.start()
    put = 0

    def give(count: int) -> None:
        nonlocal put
        for _ in range(count):
            output.put(event(put))
            put += 1
            until(lambda given=put: output.written + output.lost == given)

    give(3)
    filler = folder / "filler"
    filler.write_bytes(bytes(DISK - LEFT))
    give(30)
    assert "No space" in output.failing or "only a part" in output.failing, output.failing
    filler.unlink()
    give(5)
    output.stop()
    lines = [line for line in (folder / "events.jsonl").read_bytes().split(b"\n") if line]
    whole = [json.loads(line)["sequence"] for line in lines if line.endswith(b"}")]
    assert whole[-5:] == list(range(put - 5, put)), whole
    assert (len(whole), len(lines)) == (output.written, output.written + 1), (whole, output.written)
    assert output.failing == ""


if __name__ == "__main__":
    torn_by_a_full_disk(Path(sys.argv[1]))
