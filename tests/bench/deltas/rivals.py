"""What others make of two files: public binary deltas at their strongest settings, and zstd. Each returns the patch's size in bytes."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import bsdiff4
import detools
import hdiffpatch
import numpy as np
import pyxdelta

from shared.release.delta import frames


def bsdiff(old: bytes, new: bytes) -> int:
    """bsdiff (Percival 2003), as bsdiff4 ships it: bzip2."""
    return len(bsdiff4.diff(old, new))


def hdiff(old: bytes, new: bytes) -> int:
    """HDiffPatch with LZMA2 at its strongest."""
    return len(hdiffpatch.diff(old, new, hdiffpatch.Lzma2Config.best_compression(), validate=False))


def detool(old: bytes, new: bytes) -> int:
    """detools: bsdiff's search under LZMA."""
    patch = io.BytesIO()
    detools.create_patch(io.BytesIO(old), io.BytesIO(new), patch, use_mmap=False)
    return len(patch.getvalue())


def xdelta(old: bytes, new: bytes) -> int:
    """xdelta3 as pyxdelta ships it."""
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / one for one in ("old", "new", "patch")]
        paths[0].write_bytes(old)
        paths[1].write_bytes(new)
        pyxdelta.run(*map(str, paths))
        return paths[2].stat().st_size


def patch_from(old: bytes, new: bytes) -> int:
    """zstd --patch-from at level 19."""
    return len(frames.compress(new, dictionary=old))


def full(old: bytes, new: bytes) -> int:
    """The whole file under zstd level 19."""
    del old
    return len(frames.compress(new))


def subtracted(old: bytes, new: bytes) -> int:
    """New minus old byte by byte under zstd level 19; 0 where the lengths differ: it does not apply."""
    if len(old) != len(new):
        return 0
    return len(frames.compress(np.subtract(np.frombuffer(new, np.uint8), np.frombuffer(old, np.uint8)).tobytes()))


RIVALS: dict[str, Callable[[bytes, bytes], int]] = {
    "bsdiff4": bsdiff,
    "hdiffpatch": hdiff,
    "detools": detool,
    "xdelta3": xdelta,
    "zstd_patch_from": patch_from,
    "zstd_full": full,
    "bytesub_zstd": subtracted,
}
TOOLS = tuple(name for name in RIVALS if name != "bytesub_zstd")
"""Shipped tools: ratios are to the best of them; subtracting bytes is a baseline of its own."""
