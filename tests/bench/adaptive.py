"""The adaptive codec and picture quality against every fixed pair, over a simulated link of 1, 10 and 100 Mbit/s (20 ms round trip).

A discrete simulation, said so: one encoder thread and one link, first in, first out, with small messages before pictures. What goes in
is measured: bytes and encoding times of real pictures of the line (sixteen windows side by side, 384 x 384) at every point of the
table, the expert's accuracy on their windows after decoding, and telemetry through the real compressor with the real clock. Rate and
backlog reach the choice as they do on a device: by `LinkEstimate`, from receipts. One load for all: bursts of twenty pictures, three
bursts at 2/s, 5/s and 20/s by turns, telemetry every 2 s.

`adaptive_vs_best_fixed`: median time from spool to receipt over that of the best fixed pair whose expert accuracy is no lower; the worst
of the three rates. Pictures are encoded before they are spooled, so a slow encoder looks free here: `..._from_frame` counts from the
frame's hand-over, encoding included.
"""

from __future__ import annotations

import heapq
import statistics
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
import zstandard

from cloud.foundry.measure import QUALITIES, preferred_first
from cloud.foundry.predictions import logits
from provisioning.line.boards import generate
from shared.link.estimate import LinkEstimate
from shared.release.card import QualityPoint, decode_card
from shared.vision import picture
from shared.vision.quality import EncodeTimes, LinkLoad, choose
from shared.vision.tasks.logits import accuracy
from shared.wire.compression import Compressor
from shared.wire.envelope import OVERHEAD_BYTES
from shared.wire.messages import Kind
from tests.bench.links.said import encoded, telemetries
from tests.bench.result import Result, conditions

MODELS = Path("models/line/expert")
RATES_MBIT = (1, 10, 100)
ROUND_TRIP_S = 0.02
SIDE, TILES = 96, 4
FIXED_LEVELS = (0, 1, 3, 9)
_FIXED = {level: zstandard.ZstdCompressor(level=level) for level in FIXED_LEVELS if level}


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One point of the table with what it was measured on: bytes of each picture, and seconds to encode one (median)."""

    card: QualityPoint
    sizes: tuple[int, ...]
    encode_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of one run in seconds, and the mean accuracy of what was chosen."""

    spool_s: float
    frame_s: float
    accuracy: float


def run(*, full: bool) -> Result:
    """Measure the table, then simulate; `full` takes three times as many pictures."""
    points = _table(pictures=36 if full else 12)
    whole = max(point.card.expert_accuracy for point in points)
    order = preferred_first([point.card for point in points], whole)
    by_card = {(one.card.codec, one.card.quality): one for one in points}
    points = [by_card[card.codec, card.quality] for card in order]
    messages = encoded(telemetries(400))
    rows: list[dict[str, float | str]] = []
    for rate in RATES_MBIT:
        rows.append(_compare(points, messages, rate))
    worst = max(float(row["ratio"]) for row in rows)
    figures = {"adaptive_vs_best_fixed": worst, "adaptive_vs_best_fixed_from_frame": max(float(row["ratio_from_frame"]) for row in rows)}
    return Result(name="adaptive", figures=figures, rows=rows, conditions=conditions(link="simulated", pictures="line, 384 px"))


def _compare(points: list[Point], messages: list[bytes], rate_mbit: int) -> dict[str, float | str]:
    rate = rate_mbit * 125_000.0
    ours = _simulate(points, messages, rate, fixed=None)
    fixed = {
        (f"{point.card.codec} {point.card.quality}", level): _simulate([point], messages, rate, fixed=level)
        for point in points
        for level in FIXED_LEVELS
    }
    equal = {name: one for name, one in fixed.items() if one.accuracy >= ours.accuracy - 1e-9}
    best, best_frame = min(equal, key=lambda name: equal[name].spool_s), min(equal, key=lambda name: equal[name].frame_s)
    return {
        "mbit_s": float(rate_mbit),
        "accuracy": round(ours.accuracy, 4),
        "adaptive_ms": round(ours.spool_s * 1e3, 2),
        "best_fixed": f"{best[0]}, zstd {best[1]}",
        "best_fixed_ms": round(equal[best].spool_s * 1e3, 2),
        "ratio": round(ours.spool_s / equal[best].spool_s, 4),
        "from_frame_ms": round(ours.frame_s * 1e3, 2),
        "best_from_frame": f"{best_frame[0]}, zstd {best_frame[1]}",
        "ratio_from_frame": round(ours.frame_s / equal[best_frame].frame_s, 4),
    }


def _table(*, pictures: int) -> list[Point]:
    """Encode real pictures at every point, decode them, and ask the expert about every window."""
    windows = generate(seed=77, boards=-(-pictures * TILES * TILES // 12))
    count = pictures * TILES * TILES
    frames, labels = windows.frames[:count], windows.labels[:count]
    boards = [_joined(frames[start : start + TILES * TILES]) for start in range(0, count, TILES * TILES)]
    spec = decode_card((MODELS / "000001.card.json").read_bytes()).input
    return [_point(codec, quality, boards, labels, spec) for codec in ("webp", "jpeg") for quality in QUALITIES]


def _point(codec: str, quality: int, boards: list[np.ndarray], labels: np.ndarray, spec: object) -> Point:
    sent, times = [], []
    for board in boards:
        began = time.perf_counter()
        sent.append(picture.encode(board, codec=codec, quality=quality))
        times.append(time.perf_counter() - began)
    received = np.concatenate([_windows(picture.decode(one)) for one in sent])
    sizes = tuple(len(one.data) for one in sent)
    found = accuracy(logits(MODELS / "000001.onnx", received, spec), labels)
    card = QualityPoint(codec=codec, quality=quality, bytes_mean=statistics.fmean(sizes), expert_accuracy=found)
    return Point(card=card, sizes=sizes, encode_s=statistics.median(times))


def _joined(windows: np.ndarray) -> np.ndarray:
    return windows.reshape(TILES, TILES, SIDE, SIDE, 3).swapaxes(1, 2).reshape(TILES * SIDE, TILES * SIDE, 3)


def _windows(board: np.ndarray) -> np.ndarray:
    return board.reshape(TILES, SIDE, TILES, SIDE, 3).swapaxes(1, 2).reshape(TILES * TILES, SIDE, SIDE, 3)


def _load() -> list[tuple[float, int]]:
    """Return (time, number of the picture, or -1 for telemetry), in order."""
    events, at = [(2.0 * index, -1) for index in range(45)], 0.0
    for burst in range(9):
        for _ in range(20):
            events.append((at, sum(1 for one in events if one[1] >= 0)))
            at += (0.5, 0.2, 0.05)[burst % 3]
        at += 3.0
    return sorted(events)


def _simulate(points: list[Point], messages: list[bytes], rate: float, *, fixed: int | None) -> Outcome:
    """Run the load over one link; `fixed` is the zstd level of small messages, None chooses codec, level and quality."""
    link, encoder_free, chosen = _Link(rate), 0.0, []
    compressor, times = Compressor(clock=time.perf_counter), EncodeTimes()
    by_card = {(one.card.codec, one.card.quality): one for one in points}
    table = [one.card for one in points]
    for at, number in _load():
        if number < 0:
            payload = messages[int(at) % len(messages)]
            link.put(at, at, _small(compressor, payload, link.rate(at), fixed), is_small=True)
            continue
        begin = max(at, encoder_free)
        card = choose(table, LinkLoad(rate_bytes_per_s=link.rate(begin), backlog_bytes=link.backlog(begin)), times.seconds)
        point = by_card[card.codec, card.quality]
        encoder_free = begin + point.encode_s
        times.note(card.codec, point.encode_s)
        chosen.append(card.expert_accuracy)
        link.put(at, encoder_free, point.sizes[number % len(point.sizes)] + 150, is_small=False)
    waits = link.finish()
    return Outcome(
        spool_s=statistics.median(done - spooled for _, spooled, done in waits),
        frame_s=statistics.median(done - frame for frame, _, done in waits),
        accuracy=statistics.fmean(chosen),
    )


def _small(compressor: Compressor, payload: bytes, rate: float, fixed: int | None) -> int:
    if fixed is None:
        return len(compressor.compress(Kind.TELEMETRY, payload, rate_bytes_per_s=rate)[1])
    return len(payload) if fixed == 0 else min(len(payload), len(_FIXED[fixed].compress(payload)))


class _Link:
    """A link of one rate: small messages first, each group in order; receipts feed the estimate as the session does."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free_at, self._turn = rate, 0.0, 0
        self._waiting: list[tuple[bool, int, float, float, int]] = []
        self._receipts: deque[tuple[float, int, float]] = deque()
        self._confirmed, self._confirmed_at = 0, 0.0
        self._estimate, self._done = LinkEstimate(), []

    def put(self, frame: float, spooled: float, size: int, *, is_small: bool) -> None:
        """Spool one message."""
        self._serve(spooled)
        self._turn += 1
        heapq.heappush(self._waiting, (not is_small, self._turn, frame, spooled, size))

    def rate(self, now: float) -> float:
        """Return the estimate at a time."""
        self._serve(now)
        while self._receipts and self._receipts[0][0] <= now:
            at, size, sent_at = self._receipts.popleft()
            since = max(sent_at, self._confirmed_at) if self._confirmed_at > sent_at else sent_at
            self._estimate.add(size, at - since, at, round_trip_s=ROUND_TRIP_S)
            self._confirmed_at = at
        return self._estimate.rate_bytes_per_s

    def backlog(self, now: float) -> int:
        """Return the bytes without a receipt at a time."""
        self._serve(now)
        return sum(one[4] for one in self._waiting) + sum(size for at, size, _ in self._receipts if at > now)

    def finish(self) -> list[tuple[float, float, float]]:
        """Return (frame, spooled, receipt) of all."""
        self._serve(float("inf"))
        return self._done

    def _serve(self, until: float) -> None:
        while self._waiting:
            ready = [one for one in self._waiting if one[3] <= max(self._free_at, min(one[3] for one in self._waiting))]
            item = min(ready)
            begin = max(self._free_at, item[3])
            if begin > until:
                return
            self._waiting.remove(item)
            heapq.heapify(self._waiting)
            self._free_at = begin + (item[4] + OVERHEAD_BYTES * -(-item[4] // 16_384)) / self._rate
            receipt = self._free_at + ROUND_TRIP_S
            self._receipts.append((receipt, item[4], begin))
            self._done.append((item[2], item[3], receipt))
