"""Measures a model on this machine by the engine the profile chose: latency by batch, and what INT8 gains over FP32.

The FP32 model is the same model without its quantisation (`shared.engines.quantised`), run by turns with it, so that other load meets
both. Every figure is this machine's as it is now, with whatever else it does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shared import clock
from shared.engines import quantised
from shared.engines.base import Batch, Engine
from shared.errors import EngineError, InputError
from shared.hwprofile import timing
from shared.hwprofile.timing import Timing
from shared.release.card import InputSpec, decode_card

BATCHES = (1, 8)
FEWEST_RUNS, MOST_RUNS = 20, 400
SHIPPED = ("models/line/student/000001.onnx", "provisioning/models/line/student/000001.onnx")
_ROOT = Path(__file__).resolve().parents[2]
MakeEngine = Callable[[Path], Engine]


def shipped_model() -> Path:
    """Return the student that comes with terrace.

    Raises:
        InputError: this installation has none.
    """
    for name in SHIPPED:
        if (_ROOT / name).is_file():
            return _ROOT / name
    raise InputError("this installation has no model of its own.", "Give a model file with its card beside it: --model FILE.")


def input_of(model: Path) -> InputSpec:
    """Return what a model file takes, from the card beside it (`card.json`, or `x.card.json` of `x.onnx`).

    Raises:
        InputError: there is no card.
        TrustError: the card cannot be read.
    """
    for card in (model.with_suffix(".card.json"), model.parent / "card.json"):
        if card.is_file():
            return decode_card(card.read_bytes()).input
    raise InputError(f"there is no card beside {model}.", f"Put it there as {model.stem}.card.json, or give a file of a release.")


def latencies(engine: Engine, spec: InputSpec, *, seconds: float) -> list[Timing]:
    """Time an engine for every batch size.

    Args:
        engine: runs the model.
        spec: what it takes.
        seconds: how long to measure a batch size, about.

    Raises:
        EngineError: the model cannot be run.
    """
    return [timing.summarise(size, _times(engine, _input(spec, size), seconds)) for size in BATCHES]


def int8_speedup(model: Path, spec: InputSpec, make: MakeEngine, *, seconds: float) -> float | None:
    """Return how many times as fast the model is as the same without quantisation, one frame at a time; None for one that has none.

    Raises:
        EngineError: one of the two cannot be run.
    """
    data = model.read_bytes()
    if not quantised.is_quantised(data):
        return None
    with tempfile.TemporaryDirectory(prefix="terrace-probe-") as folder:
        other = Path(folder) / "fp32.onnx"
        other.write_bytes(quantised.plain(data))
        slow, fast, batch = make(other), make(model), _input(spec, 1)
        try:
            return _paired(slow, fast, batch, seconds)
        finally:
            slow.close()
            fast.close()


def _paired(slow: Engine, fast: Engine, batch: Batch, seconds: float) -> float:
    for engine in (slow, fast):
        engine.run(batch)
    end = clock.monotonic() + seconds
    pairs: list[tuple[float, float]] = []
    while len(pairs) < FEWEST_RUNS or (len(pairs) < MOST_RUNS and clock.monotonic() < end):
        pairs.append((_seconds(slow, batch), _seconds(fast, batch)))
    return timing.ratio([one for one, _ in pairs], [other for _, other in pairs])


def _times(engine: Engine, batch: Batch, seconds: float) -> list[float]:
    engine.run(batch)
    end = clock.monotonic() + seconds
    found: list[float] = []
    while len(found) < FEWEST_RUNS or (len(found) < MOST_RUNS and clock.monotonic() < end):
        found.append(_seconds(engine, batch))
    return found


def _seconds(engine: Engine, batch: Batch) -> float:
    began = clock.monotonic()
    engine.run(batch)
    return clock.monotonic() - began


def _input(spec: InputSpec, size: int) -> Batch:
    random = np.random.default_rng(0)
    batch: Batch = random.random((size, spec.channels, spec.height, spec.width), dtype=np.float32)
    if batch.size == 0:
        raise EngineError("the card's input is empty.", "The release is unusable.")
    return batch
