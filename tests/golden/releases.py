"""What the release formats must go on to say: deltas of each codec and a desired state, written once by `python -m tests.golden.releases`.

zstd may compress differently from version to version, so committed deltas are applied, not made again; the rest is compared.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from shared.engines.fields import field
from shared.release import delta
from shared.release.desired import Desired, DesiredModel, cohort_position, encode_desired

FILE = Path(__file__).with_name("releases.json")
OLD = np.random.default_rng(1).integers(0, 256, 600, np.uint8).tobytes()
_MOVED = np.frombuffer(OLD, np.uint8).copy()
_MOVED[::40] += 3


def _model(weights: bytes, scale: bytes) -> bytes:
    """Return an ONNX file of one quantised tensor of 24 x 100 and its scales."""
    node = field(1, b"w") + field(1, b"w_scale") + field(2, b"w_f") + field(4, b"DequantizeLinear")
    tensors = [(b"w", 3, (24, 100), weights), (b"w_scale", 1, (24,), scale)]
    written = [
        b"".join(field(1, side) for side in dims) + field(2, kind) + field(8, name) + field(9, data) for name, kind, dims, data in tensors
    ]
    return field(1, 8) + field(7, field(1, node) + b"".join(field(5, one) for one in written))


_WEIGHTS = np.random.default_rng(2).integers(-90, 90, 2400).astype(np.int8)
_LATER = np.rint(_WEIGHTS / 1.1) + (np.random.default_rng(3).random(2400) < 0.05)
_SCALES = [(np.linspace(1, 2, 24) * scale).astype("<f4").tobytes() for scale in (0.01, 0.011)]
PAIRS = {
    "tensors": (_model(_WEIGHTS.tobytes(), _SCALES[0]), _model(_LATER.astype(np.int8).tobytes(), _SCALES[1])),
    "subtract": (OLD, _MOVED.tobytes()),
    "prefix": (OLD, OLD[:300] + b"a new tensor" + OLD[300:]),
    "full": (b"little", b"a release of its own " * 9),
}
DESIRED = Desired(
    version=7,
    fleet="acme",
    models={
        "student": DesiredModel(
            release=3, role="auto", minimum_release=1, deltas=(1, 2), previous=2, previous_role="auto", cohort_salt="s", cohort_share=0.25
        )
    },
)


def write() -> None:
    """Write the file; only when a format changes on purpose."""
    kept = json.loads(FILE.read_text(encoding="ascii"))["deltas"] if FILE.exists() else {}  # old deltas stay as they were sent
    deltas = {name: kept.get(name) or delta.make(old, new).hex() for name, (old, new) in PAIRS.items()}
    golden = {"deltas": deltas, "desired": encode_desired(DESIRED).decode(), "position": cohort_position("s", "edge-1.region-1")}
    FILE.write_text(json.dumps(golden, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    write()
