"""A human mistake: a release whose classes are in another order than its card says. It loads, it is fast, it is as sure as ever, and wrong.

Rules:
1. The network is the running student's own; one Gather behind it mixes up some of the answers, as an export script with another
   label list would.
2. As few classes as possible are mixed up, the rarest first, until they hold `SHARE` of the labels: a release that were wrong
   about everything would be noticed by anyone.
3. Its self-test is recorded from itself, as the export script does: it passes, and says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx

from shared.engines.onnx import OnnxEngine
from shared.release.card import Card, Lineage, decode_card, encode_card, sha256
from shared.vision.preprocess import prepare

SHARE = 0.35
FEWEST_CLASSES = 2


def mixed_order(labels: Sequence[int], classes: int, *, share: float = SHARE) -> list[int]:
    """Return which answer takes the place of which: the rarest classes are rotated by one, the others stay.

    Args:
        labels: what the line's pictures are.
        classes: how many there are.
        share: of the labels the mixed-up classes hold together at least, 0 to 1.
    """
    counts = Counter(labels)
    rarest = sorted(range(classes), key=lambda label: (counts[label], label))
    picked: list[int] = []
    for label in rarest:
        if len(picked) >= FEWEST_CLASSES and sum(counts[one] for one in picked) >= share * len(labels):
            break
        picked.append(label)
    order = list(range(classes))
    for place, label in enumerate(picked):
        order[label] = picked[(place + 1) % len(picked)]
    return order


def mixed_up(model: bytes, order: Sequence[int]) -> bytes:
    """Return the model with its answers in another order.

    Args:
        model: an ONNX file with one output, (N, classes).
        order: answer `i` of the result is answer `order[i]` of the model.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    wanted, inner = graph.output[0].name, f"{graph.output[0].name}_as_trained"
    for node in graph.node:
        node.output[:] = [inner if name == wanted else name for name in node.output]
        node.input[:] = [inner if name == wanted else name for name in node.input]
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(order, np.int64), "label_order"))
    graph.node.append(onnx.helper.make_node("Gather", [inner, "label_order"], [wanted], axis=1))
    return bytes(proto.SerializeToString())


def export(running: Path, card: Path, order: Sequence[int], folder: Path, *, release: int, now: float) -> tuple[Path, Path]:
    """Write the mistaken release: model and card.

    Args:
        running: the running student's ONNX file.
        card: its card.
        order: see `mixed_up`.
        folder: where to; made.
        release: its number.
        now: Unix seconds.

    Returns:
        The model and its card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = mixed_up(running.read_bytes(), order)
    made = folder / f"{release:06d}.onnx"
    made.write_bytes(model)
    written = made.with_suffix(".card.json")
    written.write_bytes(encode_card(_card(decode_card(card.read_bytes()), made, release=release, now=now)))
    return made, written


def _card(before: Card, model: Path, *, release: int, now: float) -> Card:
    engine = OnnxEngine(model, threads=1)
    try:
        logits = engine.run(prepare(before.self_test.frames(), before.input))
    finally:
        engine.close()
    recorded = msgspec.structs.replace(before.self_test, logits=tuple(tuple(float(value) for value in row) for row in logits))
    lineage = Lineage(
        parent=before.release, round=0, recipe="exported by hand", data=before.lineage.data, code=before.lineage.code, created_at=now
    )
    return msgspec.structs.replace(before, release=release, self_test=recorded, lineage=lineage, onnx_sha256=sha256(model.read_bytes()))
