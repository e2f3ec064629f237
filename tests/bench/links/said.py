"""What devices say in benchmarks: telemetry of a running device, and detections of the real student on generated windows of the line."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from provisioning.line.boards import generate
from shared.engines.onnx import OnnxEngine
from shared.release.card import decode_card
from shared.vision.preprocess import prepare
from shared.vision.tasks.classification import decode
from shared.wire.messages import Case, Picture, StreamCounts, Telemetry, encode

STUDENT = Path("models/line/student")
STREAMS = 2


def telemetries(count: int) -> list[Telemetry]:
    """Return the telemetry of one device, every 2 s at 20 frames a second on each of two streams."""
    draw = random.Random(4)
    kept, deferred, audited = ([0] * STREAMS for _ in range(3))
    found = []
    for number in range(count):
        for stream in range(STREAMS):
            hard, drawn = draw.randrange(6), draw.randrange(3)
            deferred[stream], audited[stream], kept[stream] = (
                deferred[stream] + hard,
                audited[stream] + drawn,
                kept[stream] + 40 - hard - drawn,
            )
        counts = tuple(
            StreamCounts(
                stream=f"line-{n + 1}", frames=40 * number, dropped=number // 90, kept=kept[n], deferred=deferred[n], audited=audited[n]
            )
            for n in range(STREAMS)
        )
        found.append(
            Telemetry(
                at=1_800_000_000.0 + 2.0 * number + draw.random() / 100, floor=65_537 + sum(deferred), release=7, update_state="idle",
                streams=counts, spool_cases=draw.randrange(12), spool_bytes=draw.randrange(60_000), cases_sent=sum(deferred),
                latency_ms_p50=round(1.3 + draw.random() / 5, 3),
            )
        )  # fmt: skip
    return found


def detections(boards: int) -> list[Case]:
    """Return what the student says of each window of some boards, as a case without its picture."""
    windows, draw = generate(seed=91, boards=boards), random.Random(5)
    card = decode_card((STUDENT / "000001.card.json").read_bytes())
    engine = OnnxEngine(STUDENT / "000001.onnx", threads=1)
    predictions = [decode(engine.run(prepare(windows.frames[n : n + 1], card.input)))[0] for n in range(len(windows.frames))]
    engine.close()
    return [
        Case(
            stream=f"line-{1 + number % STREAMS}", frame=11 * number, unit=str(windows.units[number]),
            captured_at=1_800_000_000.0 + number / 20 + draw.random() / 1000, reason="margin", is_audit=False,
            score=max(prediction.probabilities) - sorted(prediction.probabilities)[-2], threshold=0.8125, release=7,
            prediction=prediction, picture=Picture(codec="webp", width=96, height=96, data=b""),
        )
        for number, prediction in enumerate(predictions)
    ]  # fmt: skip


def as_json(message: Telemetry | Case) -> bytes:
    """Return the message as compact JSON with named fields, without the (empty) picture."""
    fields = {name: msgspec.to_builtins(getattr(message, name)) for name in message.__struct_fields__ if name != "picture"}
    if isinstance(message, Telemetry):
        fields["streams"] = [msgspec.structs.asdict(stream) for stream in message.streams]
    else:
        fields["prediction"] = msgspec.structs.asdict(message.prediction)
    return msgspec.json.encode(fields)


def encoded(messages: list[Telemetry]) -> list[bytes]:
    """Return the messages' bytes."""
    return [encode(message) for message in messages]
