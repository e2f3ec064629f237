"""Deltas between ONNX models: whatever training, quantising or a person does to a model, it is rebuilt byte for byte, and small."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shared.errors import ProtocolError, TrustError
from shared.release import delta
from shared.release.delta import container, frames, layout, plan
from shared.release.delta.container import HEADER_BYTES, TENSORS
from tests.examples import examples

Arrays = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]


def quantised(seed: int, *, outputs: int = 48, inputs: int = 24) -> Arrays:
    """Return the initializers of one quantised convolution and one float layer."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.1, (outputs, inputs, 3, 3)) * np.exp(rng.normal(0, 0.5, (outputs, 1, 1, 1)))
    scale = (np.abs(weights).reshape(outputs, -1).max(axis=1) / 127).astype(np.float32)
    source = np.float32(0.02)
    return {
        "in_scale": np.asarray(source),
        "w": np.rint(weights / scale[:, None, None, None]).astype(np.int8),
        "b": rng.integers(-9000, 9000, outputs).astype(np.int32),
        "w_scale": scale,
        "b_scale": source * scale,
        "head": rng.normal(0, 0.1, (10, 128)).astype(np.float32),
        "half": rng.normal(0, 0.1, (32, 40)).astype(np.float16),
        "steps": rng.integers(0, 2**60, 16),
    }


def saved(arrays: Arrays, *, producer: str = "tests") -> bytes:
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "in_scale"], ["x_f"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale"], ["w_f"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b_scale"], ["b_f"], axis=0),
        helper.make_node("Conv", ["x_f", "w_f", "b_f"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(one, name) for name, one in arrays.items()])
    return bytes(helper.make_model(graph, producer_name=producer).SerializeToString())


def moved(arrays: Arrays, seed: int, share: float) -> Arrays:
    rng, found = np.random.default_rng(seed), dict(arrays)
    weights = arrays["w"].astype(np.int16)
    found["w"] = np.clip(weights + np.where(rng.random(weights.shape) < share, rng.choice([-1, 1], weights.shape), 0), -127, 127).astype(
        np.int8
    )
    for name in ("head", "half"):
        found[name] = (arrays[name] * (1 + 0.01 * rng.normal(0, share, arrays[name].shape))).astype(arrays[name].dtype)
    return found


def rescaled(arrays: Arrays, seed: int) -> Arrays:
    rng, found = np.random.default_rng(seed), dict(arrays)
    ratio = np.exp(rng.normal(0, 0.02, arrays["w_scale"].shape)).astype(np.float32)
    found["w_scale"] = arrays["w_scale"] * ratio
    found["in_scale"] = np.asarray(np.float32(0.0203))
    found["b_scale"] = found["in_scale"] * found["w_scale"]
    found["w"] = np.clip(np.rint(arrays["w"] / ratio[:, None, None, None]), -128, 127).astype(np.int8)
    found["b"] = np.rint(arrays["b"] * (arrays["b_scale"] / found["b_scale"])).astype(np.int32)
    return found


def renamed(arrays: Arrays) -> Arrays:
    return {name + ("_new" if name in {"head", "half"} else ""): one for name, one in arrays.items()}


def rebuild(old: bytes, patch: bytes, new: bytes) -> bytes:
    return delta.apply(old, patch, expect_sha256=hashlib.sha256(new).hexdigest(), limit_bytes=len(new))


CHANGES: dict[str, Callable[[Arrays, int], Arrays]] = {
    "nothing": lambda arrays, seed: arrays,
    "few weights": lambda arrays, seed: moved(arrays, seed, 0.03),
    "most weights": lambda arrays, seed: moved(arrays, seed, 0.9),
    "scales": rescaled,
    "scales and weights": lambda arrays, seed: moved(rescaled(arrays, seed), seed, 0.05),
    "names": lambda arrays, seed: moved(renamed(arrays), seed, 0.0) if "head" not in arrays else renamed(arrays),
    "a tensor less": lambda arrays, seed: {name: one for name, one in arrays.items() if name != "half"},
    "a tensor more": lambda arrays, seed: {**arrays, "more": quantised(seed + 1)["w"], "floats": quantised(seed + 1)["head"]},
    "order": lambda arrays, seed: dict(sorted(arrays.items(), reverse=True)),
    "shape": lambda arrays, seed: {**arrays, "head": arrays["head"].reshape(20, 64), "w": arrays["w"][:, :16]},
    "all": lambda arrays, seed: quantised(seed + 1),
    "zeros and odd floats": lambda arrays, seed: {
        **arrays,
        "head": np.where(arrays["head"] > 0, -0.0, np.where(arrays["head"] < -0.1, np.nan, np.inf)).astype(np.float32),
        "w_scale": np.zeros_like(arrays["w_scale"]),
    },
}


@pytest.mark.parametrize("change", CHANGES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(2), deadline=None)
def test_a_changed_model_is_rebuilt(change: str, seed: int) -> None:
    before = quantised(seed)
    old, new = saved(before), saved(CHANGES[change](before, seed), producer="tests" if seed % 2 else "others")
    patch = delta.make(old, new)
    assert rebuild(old, patch, new) == new
    assert len(patch) <= len(frames.compress(new)) + HEADER_BYTES


def wide(seed: int = 0) -> Arrays:
    return quantised(seed, outputs=128, inputs=64)


def test_tensors_beat_whole_files_where_weights_moved() -> None:
    before = wide()
    old = saved(before)
    for change in ("few weights", "most weights", "scales", "scales and weights"):
        new = saved(CHANGES[change](before, 7))
        patch = delta.make(old, new)
        assert delta.read_header(patch).codec == TENSORS
        rival = min(len(frames.compress(new, dictionary=old)), len(frames.compress(new)))
        assert len(patch) < 0.8 * rival, change


def test_scales_that_changed_cost_themselves_and_nothing_more() -> None:
    before = wide()
    old, new = saved(before), saved(rescaled(before, 3))
    assert len(delta.make(old, new)) < 128 * 4 + 1200


def test_the_same_model_costs_a_header() -> None:
    old = saved(wide())
    assert len(delta.make(old, old)) < 150


def pair() -> tuple[bytes, bytes, bytes]:
    before = quantised(1)
    old, new = saved(before), saved(moved(rescaled(before, 2), 2, 0.1))
    patch = delta.make(old, new)
    assert delta.read_header(patch).codec == TENSORS
    return old, new, patch


OLD, NEW, PATCH = pair()


@given(st.integers(0, 8 * len(PATCH) - 1))
@settings(max_examples=examples(50), deadline=None)
def test_every_flipped_bit_is_refused(bit: int) -> None:
    damaged = bytearray(PATCH)
    damaged[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises((ProtocolError, TrustError)):
        rebuild(OLD, bytes(damaged), NEW)


@given(st.integers(0, 8 * len(PATCH) - 1))
@settings(max_examples=examples(50), deadline=None)
def test_a_flipped_bit_under_right_checksums_is_refused(bit: int) -> None:
    """What an attacker would send: damage whose checksums were made anew."""
    damaged = bytearray(PATCH)
    damaged[bit // 8] ^= 1 << (bit % 8)
    forged = resealed(bytes(damaged))
    if forged == PATCH:
        return  # the bit was in a checksum
    with pytest.raises((ProtocolError, TrustError)):
        rebuild(OLD, forged, NEW)


def resealed(patch: bytes) -> bytes:
    """Return a container with all checksums made right."""
    data = bytearray(patch)
    _, prefix, steps = struct.unpack_from(">III", data, HEADER_BYTES)
    at = HEADER_BYTES + 12 + prefix + steps
    if at < len(data):
        struct.pack_into(">I", data, HEADER_BYTES - 4, container.checksum(bytes(data[: HEADER_BYTES - 4]), bytes(data[HEADER_BYTES:at])))
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        struct.pack_into(">I", data, at + 4, container.checksum(bytes(data[at + 8 : at + 8 + length])))
        at += 8 + length
    return bytes(data)


def test_every_truncation_is_refused() -> None:
    for length in [*range(0, len(PATCH), 97), len(PATCH) - 1]:
        with pytest.raises((ProtocolError, TrustError)):
            rebuild(OLD, PATCH[:length], NEW)
    with pytest.raises(ProtocolError):
        rebuild(OLD, PATCH + b"\0", NEW)


def test_a_foreign_base_is_refused() -> None:
    with pytest.raises(TrustError, match="another file than this device"):
        rebuild(saved(quantised(5)), PATCH, NEW)


class Counting:
    """A source that counts what is asked of it, and refuses to hand out more than a block at once."""

    def __init__(self, data: bytes) -> None:
        self._memory = delta.Memory(data)
        self.length = len(data)
        self.largest = 0

    def read(self, offset: int, length: int) -> bytes:
        self.largest = max(self.largest, length)
        return self._memory.read(offset, length)


def test_a_patch_that_asks_for_ten_gigabytes_is_refused_before_memory_is_taken() -> None:
    huge = 10 << 30
    head = bytearray(PATCH)
    struct.pack_into(">Q", head, 70, huge)
    with pytest.raises(TrustError, match="signed metadata allows"):
        rebuild(OLD, resealed(bytes(head)), NEW)
    grown = resealed(bytes(head))
    sha = hashlib.sha256(NEW).hexdigest()
    with pytest.raises(ProtocolError):  # even where the caller would allow it
        delta.apply(OLD, grown, expect_sha256=sha, limit_bytes=huge)
    for offset in (0, 4, 8):  # skeleton, patch, steps
        claims = bytearray(PATCH)
        struct.pack_into(">I", claims, HEADER_BYTES + offset, 0xFFFFFFFF)
        source = Counting(bytes(claims))
        with pytest.raises(ProtocolError):
            list(delta.rebuild(delta.Memory(OLD), source, expect_sha256=sha, limit_bytes=len(NEW)))
        assert source.largest < 1 << 20
    source = Counting(resealed(bytes(bytearray(PATCH[: _blocks_at()]) + struct.pack(">II", 0xFFFFFF00, 0))))
    with pytest.raises(ProtocolError, match="larger than any can be"):
        list(delta.rebuild(delta.Memory(OLD), source, expect_sha256=sha, limit_bytes=len(NEW)))
    assert source.largest <= 1 << 20


def _blocks_at() -> int:
    return container.read_preface(delta.Memory(PATCH)).blocks_at


def test_blocks_come_out_as_they_arrive_and_the_rest_is_asked_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BLOCK_ELEMENTS", 128 * 128)
    before, after = {}, {}
    for index in range(8):
        rng = np.random.default_rng(index)
        before[f"t{index}"] = rng.integers(-60, 60, (128, 128)).astype(np.int8)
        after[f"t{index}"] = (before[f"t{index}"] + (rng.random((128, 128)) < 0.02)).astype(np.int8)
    old, new = saved_plain(before), saved_plain(after)
    patch = delta.make(old, new)
    assert delta.read_header(patch).codec == TENSORS
    source = Arriving(patch)
    pieces = delta.rebuild(delta.Memory(old), source, expect_sha256=hashlib.sha256(new).hexdigest(), limit_bytes=len(new))
    made = [next(pieces) for _ in range(4)]  # skeleton, tensor, skeleton, tensor
    assert source.seen < len(patch) // 2
    assert b"".join([*made, *pieces]) == new


class Arriving(Counting):
    """Notes how far it was read."""

    seen = 0

    def read(self, offset: int, length: int) -> bytes:
        self.seen = max(self.seen, min(offset + length, self.length))
        return super().read(offset, length)


def saved_plain(arrays: Arrays) -> bytes:
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(one, name) for name, one in arrays.items()])
    return bytes(helper.make_model(graph).SerializeToString())


def test_a_skeleton_too_large_goes_as_a_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LARGEST_SKELETON", 16)
    patch = delta.make(OLD, NEW)
    assert delta.read_header(patch).codec != TENSORS
    assert rebuild(OLD, patch, NEW) == NEW


def test_onnx_agrees_on_what_was_rebuilt() -> None:
    onnx.load_from_string(rebuild(OLD, PATCH, NEW))
