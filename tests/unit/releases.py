"""A small repository with real releases, and attackers' copies of it, for the tests of trust and publishing."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cloud.evidence import Check, Evidence, encode_evidence
from cloud.publish import Published, Repository
from shared.release.card import Card, InputSpec, Lineage, SelfTest, encode_card, pack_inputs
from shared.release.desired import Desired, DesiredModel

LABELS = ("good", "open", "short")
FLEET = "acme"


@cache
def model(seed: int, *, moved: float = 0.0, hidden: int = 64) -> bytes:
    """Return a linear classifier on 8x8 pictures as ONNX; `moved` shifts a few of its weights."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(192, hidden)).astype(np.float32)
    weights[:4] += moved
    out = random.normal(size=(hidden, len(LABELS))).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(LABELS)])],
        [numpy_helper.from_array(weights, "w1"), numpy_helper.from_array(out, "w2")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


def weights_of(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    first, second = onnx.load_model_from_string(data).graph.initializer
    return numpy_helper.to_array(first), numpy_helper.to_array(second)


def logits_of(data: bytes, frames: np.ndarray) -> np.ndarray:
    """Return what the classifier says of uint8 NHWC frames, by numpy alone."""
    first, second = weights_of(data)
    flat = (frames.astype(np.float32) / 255).transpose(0, 3, 1, 2).reshape(len(frames), -1)
    return np.maximum(flat @ first, 0) @ second


def frames(count: int = 4) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (count, 8, 8, 3), np.uint8)


def card(data: bytes, release: int, *, family: str = "student", parent: int = 0, labels: tuple[str, ...] = LABELS, **changes: Any) -> bytes:
    """Return the card of a classifier, its self-test right unless `logits` is given."""
    inputs = frames()
    logits = changes.pop("logits", None) or tuple(tuple(float(v) for v in row) for row in logits_of(data, inputs))
    made = Card(
        model=family,
        release=release,
        labels=labels,
        input=InputSpec(width=8, height=8),
        self_test=SelfTest(shape=inputs.shape, inputs=pack_inputs(inputs), logits=logits, tolerance=1e-3),
        lineage=Lineage(parent=parent, round=0, recipe="test", data="none", code="none", created_at=0.0),
        onnx_sha256=hashlib.sha256(data).hexdigest(),
        **changes,
    )
    return encode_card(made)


def gates(data: bytes, release: int, *, passed: bool = True) -> bytes:
    checks = (Check(name="accuracy", value=0.9, limit=0.8, passed=passed),)
    sha = hashlib.sha256(data).hexdigest()
    return encode_evidence(Evidence(model="student", release=release, onnx_sha256=sha, passed=passed, checks=checks))


def add(
    repository: Repository, folder: Path, data: bytes, release: int, *, role: str = "manual", bases: tuple[int, ...] = (), **more: Any
) -> Published:
    """Publish a classifier as a release of the student."""
    path = folder / f"{release}.onnx"
    path.write_bytes(data)
    evidence = more.pop("gates", gates(data, release) if role == "auto" else b"")
    return repository.add_release("student", role, release, path, card(data, release, **more), bases, gates=evidence)


def desire(repository: Repository, release: int, **more: Any) -> Desired:
    """Publish the next desired state naming a release."""
    before = repository.desired(FLEET)
    desired = Desired(version=before.version + 1 if before else 1, fleet=FLEET, models={"student": DesiredModel(release=release, **more)})
    repository.set_desired(desired)
    return desired


def edit(path: Path, **changes: Any) -> None:
    """Change a signed file without signing it anew."""
    document = json.loads(path.read_bytes())
    document["signed"].update(changes)
    path.write_text(json.dumps(document))
