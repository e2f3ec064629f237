"""Applying a delta of a model of 100 MB: what it adds to the memory of a process, and how long it takes on one core.

The model is untrained: 25 M FP32 parameters in layers of 1,024 x 1,024, its successor a random walk from it. The delta is applied by a
fresh process from files to a file, as a device would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from shared.engines.fields import field
from shared.release import delta

LAYERS, SIDE = 25, 1024
STEP = 1e-4
_CHILD = """
import json, sys, time
from pathlib import Path
from shared.release import delta
from shared.release.delta import Memory
from tests.bench.deltas.large import File, peak_mb
old, patch, target, sha, length = sys.argv[1:]
before = peak_mb()
begun = time.process_time()
with File(Path(old)) as base, File(Path(patch)) as source, Path(target).open("wb") as sink:
    delta.apply_to(base, source, sink.write, expect_sha256=sha, limit_bytes=int(length))
taken = time.process_time() - begun
print(json.dumps([peak_mb() - before, taken]))
"""


class File:
    """A file on disk as a delta's source; closed by `with`.

    Args:
        path: which.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.length = path.stat().st_size

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes from a place."""
        self._file.seek(offset)
        return self._file.read(length)


def peak_mb() -> float:
    """Return the most memory this program has had in MB; getrusage would count that of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def model(layers: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> bytes:
    """Return an ONNX file with these initializers."""
    written = [
        field(
            5, b"".join([field(1, side) for side in one.shape]) + field(2, 1) + field(8, f"layer{index}".encode()) + field(9, one.tobytes())
        )
        for index, one in enumerate(layers)
    ]
    return field(1, 8) + field(7, b"".join(written))


def measure() -> dict[str, float]:
    """Return the figures `apply_peak_mb`, `large_apply_seconds_per_10mb` and `large_delta_share`."""
    rng = np.random.default_rng(0)
    before = [rng.normal(0, 0.02, (SIDE, SIDE)).astype(np.float32) for _ in range(LAYERS)]
    after = [one + rng.normal(0, STEP, one.shape).astype(np.float32) for one in before]
    old, new = model(before), model(after)
    del before, after
    patch = delta.make(old, new)
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / one for one in ("old", "patch", "new")]
        paths[0].write_bytes(old)
        paths[1].write_bytes(patch)
        given = [*map(str, paths), delta.digest(new).hex(), str(len(new))]
        done = subprocess.run([sys.executable, "-c", _CHILD, *given], check=True, capture_output=True, text=True)
        peak, taken = json.loads(done.stdout)
    return {"apply_peak_mb": peak, "large_apply_seconds_per_10mb": taken / len(new) * 10e6, "large_delta_share": len(patch) / len(new)}
