"""Skeleton and payloads: an ONNX file comes apart and together byte for byte, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shared.errors import ProtocolError
from shared.release.delta import layout
from shared.release.delta.source import Memory
from tests.examples import examples

KINDS = (np.float32, np.float16, np.int8, np.uint8, np.int32, np.int64)


def model(seed: int, tensors: int = 6) -> bytes:
    """Return an ONNX file with tensors of many kinds and shapes; some as `float_data`, some scalar."""
    rng = np.random.default_rng(seed)
    initializers = []
    for index in range(tensors):
        shape = tuple(rng.integers(1, 9, rng.integers(0, 5)))
        values = rng.integers(-100, 100, shape).astype(KINDS[rng.integers(len(KINDS))])
        if values.dtype == np.float32 and rng.random() < 0.5:
            initializers.append(helper.make_tensor(f"t{index}", TensorProto.FLOAT, shape, values.ravel()))
        else:
            initializers.append(numpy_helper.from_array(values, f"t{index}"))
    node = helper.make_node("Identity", ["x"], ["y"], name="a node")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:], initializers)
    return bytes(helper.make_model(graph, producer_name="tests").SerializeToString())


def together(data: bytes) -> tuple[layout.Layout, bytes]:
    whole = layout.of_file(Memory(data))
    skeleton = layout.skeleton_of(Memory(data), whole)
    assert layout.of_skeleton(Memory(skeleton), file_bytes=len(data)) == whole
    pieces, cut = [], 0
    for tensor in whole.tensors:
        pieces += [skeleton[cut : tensor.cut], data[tensor.place : tensor.place + tensor.length]]
        cut = tensor.cut
    return whole, b"".join([*pieces, skeleton[cut:]])


@given(st.integers(0, 2**32))
@settings(max_examples=examples(60), deadline=None)
def test_a_model_comes_apart_and_together(seed: int) -> None:
    data = model(seed)
    whole, again = together(data)
    assert again == data
    expected = [one for one in onnx.load_from_string(data).graph.initializer if numpy_helper.to_array(one).nbytes >= layout.SMALLEST]
    assert [(one.name.decode(), one.kind, one.dims) for one in whole.tensors] == [
        (one.name, one.data_type, tuple(one.dims)) for one in expected
    ]


@given(st.binary(max_size=300))
@settings(max_examples=examples(200), deadline=None)
def test_other_bytes_are_refused_or_come_together(data: bytes) -> None:
    try:
        whole = layout.of_file(Memory(data))
    except ProtocolError:
        return
    assert whole.file_bytes == len(data)
    assert together(data)[1] == data


@given(st.integers(0, 1000), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_a_damaged_skeleton_is_refused_or_walked_to_its_end(seed: int, data: st.DataObject) -> None:
    whole = model(seed)
    skeleton = bytearray(layout.skeleton_of(Memory(whole), layout.of_file(Memory(whole))))
    at = data.draw(st.integers(0, len(skeleton) * 8 - 1))
    skeleton[at // 8] ^= 1 << (at % 8)
    try:
        found = layout.of_skeleton(Memory(bytes(skeleton)), file_bytes=len(whole))
    except ProtocolError:
        return
    assert found.skeleton_bytes + sum(one.length for one in found.tensors) == len(whole)


def test_what_is_cut_short_is_refused() -> None:
    data = model(1)
    skeleton = layout.skeleton_of(Memory(data), layout.of_file(Memory(data)))
    for cut in (1, len(data) // 2, len(data) - 1):
        with pytest.raises(ProtocolError):
            layout.of_file(Memory(data[:cut]))
    for length in (len(data) - 1, len(data) + 1, 10**18):
        with pytest.raises(ProtocolError):
            layout.of_skeleton(Memory(skeleton), file_bytes=length)


def test_scales_are_found_through_the_graph() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "in_scale", "zero"], ["x_f"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_f"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b_scale", "b_zero"], ["b_f"], axis=0),
        helper.make_node("Conv", ["x_f", "w_f", "b_f"], ["y"]),
    ]
    arrays = {
        "w": np.zeros((32, 4), np.int8),
        "b": np.zeros(32, np.int32),
        "w_scale": np.ones(32, np.float32),
        "b_scale": np.ones(32, np.float32),
        "in_scale": np.float32(0.5),
    }
    graph = helper.make_graph(nodes, "g", [], [], [numpy_helper.from_array(np.asarray(one), name) for name, one in arrays.items()])
    found = layout.of_file(Memory(helper.make_model(graph).SerializeToString())).links
    assert found.scales == {b"x": b"in_scale", b"w": b"w_scale", b"b": b"b_scale"}
    assert found.products == {b"b_scale": (b"in_scale", b"w_scale")}
    assert found.small == {b"in_scale": np.float32(0.5).tobytes()}
