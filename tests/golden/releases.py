"""What the release formats must go on to say: deltas of each codec and a desired state, written once by `python -m tests.golden.releases`.

zstd may compress differently from version to version, so committed deltas are applied, not made again; the rest is compared.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from shared.release import delta
from shared.release.desired import Desired, DesiredModel, cohort_position, encode_desired

FILE = Path(__file__).with_name("releases.json")
OLD = np.random.default_rng(1).integers(0, 256, 600, np.uint8).tobytes()
_MOVED = np.frombuffer(OLD, np.uint8).copy()
_MOVED[::40] += 3
PAIRS = {
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
    deltas = {name: delta.make(old, new).hex() for name, (old, new) in PAIRS.items()}
    golden = {"deltas": deltas, "desired": encode_desired(DESIRED).decode(), "position": cohort_position("s", "edge-1.region-1")}
    FILE.write_text(json.dumps(golden, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    write()
