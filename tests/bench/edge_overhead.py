"""What the layered pipeline costs over a raw loop, per frame: same decoded frames, same session, alternating order, thread CPU time.

The raw loop is what one would write in ten lines: transpose, divide, run, argmax. The pipeline does what the device does: prepare,
run, decode with softmax, margin, keyed audit draw, policy, counters, event (encoded and written by its own thread).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge.config import PolicySettings
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.model import open_model
from edge.newest import NewestFrames
from edge.outputs import EventFile
from edge.settling import Settler
from shared import clock
from shared.engines.onnx import OnnxEngine
from shared.release import card
from shared.vision.frames import Frame, Pixels
from tests.bench.result import Result, conditions

SIZE, CLASSES = 96, 7
WIDTHS, STRIDES = (32, 48, 64, 64, 64), (2, 1, 2, 2, 1)


def run(*, full: bool) -> Result:
    """Measure decode, raw loop and pipeline on the same frames."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_release(folder)
        rounds = 12 if full else 4
        decode_us, frames = _decoded(folder, rounds)
        raw, clean, inner = _paired(folder, frames)
    decode, base, extra = statistics.median(decode_us), statistics.median(raw), statistics.median(np.subtract(clean, raw).tolist())
    figures = {
        "decode_us": decode,
        "raw_prepare_and_run_us": base,
        "engine_run_us": statistics.median(inner),
        "pipeline_us": statistics.median(clean),
        "paired_extra_us": extra,
        "extra_share_of_raw_loop": extra / (decode + base),
        "decisions_per_second_of_cpu": 1e6 / statistics.median(clean),
    }
    return Result(name="edge_overhead", figures=figures, conditions=conditions(frames=float(len(frames)), picture=f"{SIZE}x{SIZE}"))


def _paired(folder: Path, frames: list[Pixels]) -> tuple[list[float], list[float], list[float]]:
    model = open_model(folder / "model.onnx", folder / "card.json", OnnxEngine)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    events = EventFile(folder / "events.jsonl")
    events.start()
    inference = Inference(
        policy=PolicySettings(audit_share=0.02),
        neighbours=Neighbours(
            settle=Settler(events).settle, hand_over=HandOver().offer, audit_key=lambda: bytes(32), dropped=NewestFrames().dropped_in_all
        ),
        streams=["a"],
        monotonic=clock.monotonic,
        wall=clock.wall,
    )
    raw: list[float] = []
    clean: list[float] = []
    inner: list[float] = []

    def raw_loop(pixels: Pixels) -> None:
        began = time.thread_time_ns()
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        before = time.thread_time_ns()
        logits = session.run(None, {"pictures": batch})[0]
        inner.append((time.thread_time_ns() - before) / 1e3)
        int(logits.argmax())
        raw.append((time.thread_time_ns() - began) / 1e3)

    def layered(pixels: Pixels, number: int) -> None:
        began = time.thread_time_ns()
        frame = Frame(stream="a", number=number, unit="u", captured_at=time.time(), arrived_at=time.monotonic(), pixels=pixels)
        inference.step(model, [frame])
        clean.append((time.thread_time_ns() - began) / 1e3)

    for number, pixels in enumerate(frames):
        if number % 2:
            raw_loop(pixels)
            layered(pixels, number)
        else:
            layered(pixels, number)
            raw_loop(pixels)
    events.stop()
    return raw[20:], clean[20:], inner[20:]


def _decoded(folder: Path, rounds: int) -> tuple[list[float], list[Pixels]]:
    """Encode noise over a moving ramp as H.264, decode it and time each decode with its conversion to RGB."""
    rng = np.random.default_rng(0)
    with av.open(str(folder / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(200):
            ramp = np.add.outer(np.arange(SIZE), np.arange(SIZE) + number)[..., None] % 200
            picture = (ramp + rng.integers(0, 40, (SIZE, SIZE, 3))).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    times, frames = [], []
    for _ in range(rounds):
        with av.open(str(folder / "v.mp4")) as container:
            decoding = container.decode(video=0)
            while True:
                began = time.thread_time_ns()
                frame = next(decoding, None)
                if frame is None:
                    break
                frames.append(frame.to_ndarray(format="rgb24"))
                times.append((time.thread_time_ns() - began) / 1e3)
    return times, frames


def _write_release(folder: Path) -> None:
    """Write a network of the student's shape with random weights: the arithmetic is what is timed."""
    rng, nodes, weights, name, channels = np.random.default_rng(1), [], [], "pictures", 3
    for layer, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
        kernel = rng.normal(0, (2 / (9 * channels)) ** 0.5, (width, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [name, f"w{layer}"], [f"c{layer}"], pads=[1] * 4, strides=[stride] * 2))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        name, channels = f"r{layer}", width
    weights.append(numpy_helper.from_array(rng.normal(0, 0.5, (channels, CLASSES)).astype(np.float32), "head"))
    nodes += [
        helper.make_node("GlobalAveragePool", [name], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    shape = ["n", 3, SIZE, SIZE]
    entry, leave = (helper.make_tensor_value_info(*one) for one in (("pictures", TensorProto.FLOAT, shape), ("logits", 1, ["n", CLASSES])))
    graph = helper.make_graph(nodes, "student", [entry], [leave], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    blank = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    made = card.Card(
        model="student",
        release=1,
        labels=tuple("abcdefg"),
        input=card.InputSpec(width=SIZE, height=SIZE),
        self_test=card.SelfTest(shape=blank.shape, inputs=card.pack_inputs(blank), logits=(), tolerance=0.0),
        lineage=card.Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0),
        calibration=card.Calibration(score="margin", threshold=-1.0, epsilon=1.0, delta=0.5, risk_bound=1.0, units=1, frames=1),
    )
    (folder / "card.json").write_bytes(card.encode_card(made))
