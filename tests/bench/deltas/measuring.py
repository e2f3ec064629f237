"""One pair of files through our codec and the rivals: sizes, seconds, and what the entropy of the changes alone would be."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry.workbench import Workbench
from shared.errors import StorageError
from shared.release import delta
from shared.release.delta import layout, numbers
from shared.release.delta.layout import Layout
from shared.release.delta.source import Memory
from tests.bench.deltas.rivals import RIVALS, TOOLS


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One pair: our bytes and seconds, each rival's bytes (0: does not apply), and the empirical entropy of the changes in bytes."""

    ours: int
    full: int
    encode_s: float
    apply_s: float
    entropy: float
    rivals: dict[str, int]

    @property
    def best(self) -> int:
        """The smallest patch of a shipped tool."""
        return min(self.rivals[name] for name in TOOLS)

    @property
    def ratio(self) -> float:
        """Ours to the best shipped tool's."""
        return self.ours / self.best

    @property
    def to_subtracted(self) -> float:
        """Ours to subtracting bytes; 0 where that does not apply."""
        base = self.rivals["bytesub_zstd"]
        return self.ours / base if base else 0.0


def measure(old: bytes, new: bytes, bench: Workbench) -> Measured:
    """Measure one pair; rivals' sizes are kept, ours is measured anew."""
    begun = time.process_time()
    patch = delta.make(old, new)
    made = time.process_time()
    rebuilt = delta.apply(old, patch, expect_sha256=hashlib.sha256(new).hexdigest(), limit_bytes=len(new))
    applied = time.process_time()
    if rebuilt != new:
        raise StorageError("a delta did not rebuild its result.")
    sizes = {name: _kept(name, old, new, bench) for name in RIVALS}
    return Measured(ours=len(patch), full=len(new), encode_s=made - begun, apply_s=applied - made, entropy=entropy(old, new), rivals=sizes)


def _kept(name: str, old: bytes, new: bytes, bench: Workbench) -> int:
    def make(folder: Path) -> None:
        (folder / "bytes.json").write_text(json.dumps(RIVALS[name](old, new)))

    key = name.encode() + hashlib.sha256(old).digest() + hashlib.sha256(new).digest()
    return int(json.loads((bench.step("bench-delta-rival", key, make) / "bytes.json").read_text()))


def entropy(old: bytes, new: bytes) -> float:
    """Return the entropy of the changes of all tensors in bytes: each tensor's differences, as integers, drawn independently.

    What a coder without context would need at best, tables not counted; for floats, whose differences hardly repeat, it is an estimate
    from below.
    """
    before, after = layout.of_file(Memory(old)), layout.of_file(Memory(new))
    known = {one.name: one for one in before.tensors}
    bits = 0.0
    for tensor in after.tensors:
        base = known.get(tensor.name)
        if base is not None and base.length == tensor.length:
            bits += _bits(_numbers(new, after, tensor.name) - _numbers(old, before, tensor.name))
    return bits / 8


def _numbers(data: bytes, found: Layout, name: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    tensor = next(one for one in found.tensors if one.name == name)
    kind = numbers.kind_of(tensor.kind, tensor.length)
    return numbers.ordered(data[tensor.place : tensor.place + tensor.length], kind).astype(np.int64)


def _bits(differences: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    counts = np.unique(differences, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())
