"""What a finished model answers: its logits on many frames, by the very engine of the devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.deferral import second
from shared.engines.onnx import OnnxEngine
from shared.learning.samples import Frames, Logits
from shared.release.card import InputSpec, SecondLook
from shared.vision.preprocess import prepare

BATCH = 32


def logits(onnx: Path, frames: Frames, spec: InputSpec, *, threads: int = 2, look: SecondLook | None = None) -> Logits:
    """Return a model's logits float32 (N, C) for frames uint8 (N, H, W, 3), with the second look of its card where it has one."""
    engine = OnnxEngine(onnx, threads=threads)
    batches = (prepare(frames[start : start + BATCH], spec) for start in range(0, len(frames), BATCH))
    parts = [second.answered(engine.run, batch, look) for batch in batches]
    engine.close()
    return np.concatenate(parts)
