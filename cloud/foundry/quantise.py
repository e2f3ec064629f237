"""Static INT8 in Q/DQ form: activations unsigned and per tensor, weights signed and per channel (U8S8), ranges from a calibration set.

Weights use seven bits (`reduce_range`): without VNNI, x86 adds two products in 16 bits and would saturate with eight; with seven every
machine computes the same integers, so one self-test fits all. What a detector computes after its last convolutions (boxes in pixels and
probabilities in one tensor) shares no scale, so it can stay in floating point (`float_tail`). ONNX Runtime's quantiser runs on files:
they live in a folder of ours.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from cloud.foundry.form import INPUT, normalised
from cloud.foundry.tail import after_convolutions
from shared.errors import EngineError, InputError
from shared.learning.samples import Frames
from shared.release.card import InputSpec
from shared.vision.preprocess import prepare

FEWEST_CALIBRATION = 16
BATCH = 32
BATCH_PIXELS = BATCH * 128 * 128
"""Larger pictures come in smaller batches: every activation of a batch lies in memory at once."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands the calibration pictures to the quantiser, a batch at a time."""

    def __init__(self, frames: Frames, spec: InputSpec) -> None:
        self._batches = self._prepared(frames, spec)

    @staticmethod
    def _prepared(frames: Frames, spec: InputSpec) -> Iterator[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
        batch = max(1, min(BATCH, BATCH_PIXELS // (spec.width * spec.height)))
        for start in range(0, len(frames), batch):
            yield {INPUT: prepare(frames[start : start + batch], spec)}

    def get_next(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] | None:
        """Return the next batch, or None after the last."""
        return next(self._batches, None)


def quantise(
    model: bytes, frames: Frames, spec: InputSpec, *, averaged: bool = False, symmetric: bool = False, float_tail: bool = False
) -> bytes:
    """Return the INT8 form of an FP32 model.

    Args:
        model: ONNX bytes in the form of `form.normalised`.
        frames: calibration pictures, uint8 (N, H, W, 3), like those the device will see.
        spec: the model's input.
        averaged: take the mean of the batches' ranges, not the widest: rare outliers then cost the rest less.
        symmetric: signed activations around zero with eight-bit weights (S8S8), as TensorRT wants them; slower on x86.
        float_tail: leave what follows the last convolutions as it is.

    Raises:
        InputError: too few calibration pictures.
    """
    if len(frames) < FEWEST_CALIBRATION:
        raise InputError(f"{len(frames)} calibration pictures are too few.", f"Give at least {FEWEST_CALIBRATION}, better 200.")
    inferred = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model))
    level = logging.root.level
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(inferred, str(source))
        logging.root.setLevel(logging.ERROR)  # the quantiser advises at every call to run a step that was run above
        try:
            quantize_static(
                str(source),
                str(target),
                _Reader(frames, spec),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=not symmetric,
                nodes_to_exclude=after_convolutions(inferred) if float_tail else [],
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"CalibMovingAverage": averaged, "ActivationSymmetric": symmetric},
            )
        finally:
            logging.root.setLevel(level)
        return normalised(target.read_bytes())


def folded(model: bytes) -> bytes:
    """Return a model with its constants worked out and batch norms folded into convolutions, by ONNX Runtime's basic rewriting.

    Raises:
        EngineError: ONNX Runtime cannot read the graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "given.onnx", Path(folder) / "folded.onnx"
        source.write_bytes(model)
        level = logging.root.level
        logging.root.setLevel(logging.CRITICAL)  # what it would log with a traceback is told by the error below
        try:
            quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
        except Exception as error:  # the runtime raises its own family of pybind classes
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise EngineError(f"ONNX Runtime cannot read the graph: {lines[0][:200]}", "Export the model again.") from error
        finally:
            logging.root.setLevel(level)
        return normalised(target.read_bytes())
