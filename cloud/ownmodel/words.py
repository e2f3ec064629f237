"""An import, a file and a release in words, a line each. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cloud.ownmodel.anatomy import Anatomy, task_of
from cloud.ownmodel.latency import Latency
from cloud.ownmodel.orders import Imported
from shared.release.card import Card
from shared.vision.fit import CROP, LETTERBOX, STRETCH

FITTED = {
    STRETCH: "",
    LETTERBOX: ", frames of another shape keep it, on grey {padding}",
    CROP: ", of frames of another shape the middle",
}
OTHER = {
    "detection": "a detection head",
    "segmentation": "a segmentation map",
    "classification": "a classifier",
    "": "nothing terrace reads",
}


def of_import(done: Imported) -> Iterator[str]:
    """Tell what an import made."""
    saved = f", {done.model_bytes / done.given_bytes:.0%} of the file given" if done.given_bytes else ""
    because = f" ({done.reason})" if done.reason else ""
    yield f"{done.folder}: {done.precision}{because}, {done.model_bytes / 1e3:.0f} kB{saved}"
    for change in done.changes:
        yield f"  changed: {change}"
    if done.tried:
        others = ", ".join(f"{name} {share:.1%}" for name, share in done.tried.items())
        yield f"  normalisation {done.normalisation}, found by trying: {others}"
    yield from of_card(done.card)
    for one in done.latencies:
        yield of_latency(one)
    if done.expert is not None:
        yield from of_card(done.expert)
    for warning in done.warnings:
        yield f"  NOTE: {warning}"


def of_card(card: Card) -> Iterator[str]:
    """Tell what a card says."""
    spec = card.input
    seen = FITTED[spec.fit].format(padding=spec.padding)
    yield f"{card.model} {card.release}: {card.task}, {len(card.labels)} classes, {spec.width}x{spec.height} px{seen}"
    for name, value in card.lineage.figures.items():
        yield f"  {name:36} {value:.4f}"
    chosen = card.calibration
    if chosen is not None:
        yield (
            f"  defers below a {chosen.score} of {chosen.threshold:.3f}; risk at most {chosen.risk_bound:.4f} "
            f"(probability {1 - chosen.delta:.0%}, {chosen.units} units)"
        )
        if card.second_look is not None:
            yield f"  looks twice, the second time {' and '.join(card.second_look.turns)}, below a margin of {card.second_look.below:.3f}"
    elif card.model == "student":
        yield "  no calibration: devices answer everything themselves and send audit samples only"
    if card.picture_quality:
        first = card.picture_quality[0]
        yield f"  pictures travel as {first.codec} {first.quality}: {first.bytes_mean:.0f} bytes, expert {first.expert_accuracy:.4f}"


def of_latency(one: Latency) -> str:
    """Tell one profile's latency."""
    if one.why_not:
        return f"  {one.profile:24} not measured: {one.why_not}"
    line = f"  {one.profile:24} fp32 {one.fp32_p50_ms:.2f} ms (p99 {one.fp32_p99_ms:.2f})"
    if not one.speedup:
        return line
    return f"{line}, int8 {one.int8_p50_ms:.2f} ms (p99 {one.int8_p99_ms:.2f}), {one.speedup:.2f} times as fast"


def of_file(found: Anatomy) -> Iterator[str]:
    """Tell what an ONNX file is, and whether it can be imported as it is."""
    maker = f" by {found.maker}" if found.maker else ""
    yield f"opset {found.opset}, IR {found.ir}{maker}, {found.parameters:,} parameters{', quantised already' if found.quantised else ''}"
    for one in found.inputs:
        yield f"  input   {one.words}"
    for one in found.outputs:
        yield f"  output  {one.words}: {OTHER[task_of(one.shape)]}"
    yield "  operators " + ", ".join(f"{name} {count}" for name, count in found.operators.items())
    if found.foreign:
        yield f"  NOTE: devices refuse {', '.join(found.foreign)}, unless they are constants that can be worked out"
