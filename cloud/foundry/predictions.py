"""What a finished model answers: its logits on many frames, by the very engine of the devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.engines.onnx import OnnxEngine
from shared.learning.samples import Frames, Logits
from shared.release.card import InputSpec
from shared.vision.preprocess import prepare

BATCH = 32


def logits(onnx: Path, frames: Frames, spec: InputSpec, *, threads: int = 2) -> Logits:
    """Return a model's logits float32 (N, C) for frames uint8 (N, H, W, 3)."""
    engine = OnnxEngine(onnx, threads=threads)
    parts = [engine.run(prepare(frames[start : start + BATCH], spec)) for start in range(0, len(frames), BATCH)]
    engine.close()
    return np.concatenate(parts)
