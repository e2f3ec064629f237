"""Near-duplicates: how many uploads are saved when frames inherit answers, and how often the inherited answer is not the frame's own.

Streams, all at 10 frames a second; what is inherited is compared with what the expert says of the very frame:
`bottle`, `people`: the given videos with the shipped student and expert. Those are made for circuit boards, so their words mean nothing
here; but how often the expert's word changes between frames that look alike is real, and rather too often than too seldom.
`line`: DeepPCB windows of the official test list one after another, each once: boards of one design follow each other.
`dwell`: some of them, each seen `DWELL` times in a row with a camera's noise: a line that stops and goes.
`pairs`: for each fault, the same place of the faultless template and then of the board: what looks alike and must not be taken for it.

Of each stream the least sure `SHARES` of the frames would be sent; answers come `ANSWER_S` later. `wrong` counts heirs whose inherited
answer differs from the expert's on the frame, `own_wrong_share` those on which the student's own does; `risk_added` is what that adds to
P(kept and not the expert's answer), in shares of all frames. Figures are at the daemon's nearness and a share of 0.2.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry.pictures import input_spec
from cloud.foundry.predictions import logits
from edge.inheritance import CAPACITY, NEAREST, WITHIN_S
from edge.sources.video import VideoSource
from provisioning.datasets import data_folder
from provisioning.sources import deeppcb
from shared.deferral.dedupe import Descriptor, RecentCases, describe
from shared.deferral.scores import SCORES
from shared.errors import InputError
from shared.learning.samples import Frames, Logits
from shared.release.card import decode_card
from tests.bench.deferrals.models import Lab
from tests.bench.result import Result, conditions

ROOT = Path(__file__).resolve().parents[2] / "models" / "line"
VIDEOS = {"bottle": "bottle-detection.mp4", "people": "one-by-one-person-detection.mp4"}
FPS, ANSWER_S, DEADLINE_S, DWELL, NOISE = 10.0, 0.3, 5.0, 6, 4.0
SHARES = (0.2, 1.0)
LEVELS = (3.0, 6.0, 12.0, 24.0)
Answers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Frames in order: what they look like, how sure the student is of each, and what student and expert say."""

    name: str
    looks: list[Descriptor]
    sure: Logits
    student: Answers
    expert: Answers


class Found(msgspec.Struct, kw_only=True):
    """What became of a stream's frames that would have been sent."""

    frames: int
    hard: int
    sent: int = 0
    wrong: int = 0
    own_wrong: int = 0


def run(*, full: bool) -> Result:
    """Measure; `full` takes all boards and every frame of the videos."""
    streams = list(_streams(boards=500 if full else 80, seconds=None if full else 60.0))
    rows: list[dict[str, float | str]] = []
    figures: dict[str, float] = {"describe_us_96px": _describe_us(96), "describe_us_640px": _describe_us(640)}
    for stream in streams:
        for share in SHARES:
            for nearness in LEVELS:
                found = replayed(stream, share=share, nearness=nearness)
                rows.append(_row(stream.name, share, nearness, found))
                if (share, nearness) == (SHARES[0], NEAREST):
                    figures |= _figures(stream.name, found)
    taken = conditions(nearness=NEAREST, within_s=WITHIN_S, answer_s=ANSWER_S, fps=FPS, dwell=DWELL, noise_levels=NOISE)
    return Result(name="dedupe", figures=figures, rows=rows, conditions=taken)


def replayed(stream: Stream, *, share: float, nearness: float) -> Found:
    """Send the least sure share of a stream's frames, or let them inherit; the answers' times are those of a region that keeps up."""
    cases: RecentCases[int] = RecentCases(nearness=nearness, within_s=WITHIN_S, answer_s=DEADLINE_S, capacity=CAPACITY)
    hard = stream.sure <= np.quantile(stream.sure, share)
    found, owed = Found(frames=len(stream.looks), hard=int(hard.sum())), 0
    sent: list[int] = []
    for number in np.flatnonzero(hard).tolist():
        now = number / FPS
        while owed < len(sent) and sent[owed] / FPS + ANSWER_S <= now:
            cases.answered("a", sent[owed], int(stream.expert[sent[owed]]))
            owed += 1
        case = cases.inherit("a", stream.looks[number], now=now)
        if case is None:
            cases.add("a", number, stream.looks[number], now=now)
            sent.append(number)
            continue
        found.wrong += bool(stream.expert[case.frame] != stream.expert[number])
        found.own_wrong += bool(stream.student[number] != stream.expert[number])
    found.sent = len(sent)
    return found


def _row(name: str, share: float, nearness: float, found: Found) -> dict[str, float | str]:
    heirs = found.hard - found.sent
    return {
        "stream": name,
        "frames": found.frames,
        "sent_before": share,
        "nearness": nearness,
        "hard": found.hard,
        "saved_share": heirs / found.hard,
        "heirs": heirs,
        "wrong": found.wrong,
        "wrong_share": found.wrong / heirs if heirs else math.nan,
        "own_wrong_share": found.own_wrong / heirs if heirs else math.nan,
        "risk_added": found.wrong / found.frames,
    }


def _figures(name: str, found: Found) -> dict[str, float]:
    heirs = found.hard - found.sent
    return {
        f"{name}_uploads_saved": heirs / found.hard,
        f"{name}_inherited_wrong": found.wrong / heirs if heirs else 0.0,
        f"{name}_risk_added": found.wrong / found.frames,
    }


def _streams(*, boards: int, seconds: float | None) -> Iterator[Stream]:
    student, expert = ROOT / "student" / "000001.onnx", ROOT / "expert" / "000001.onnx"
    for name, file in VIDEOS.items():
        yield _answered(name, _video(data_folder() / "video" / file, _side(), seconds), student, expert)
    lab = Lab("deeppcb", lambda line: print(line, file=sys.stderr, flush=True))
    student, expert = lab.student(1) / "int8.onnx", lab.expert()
    official = lab.pictures("official")
    kept = list(dict.fromkeys(official.units))[:boards]
    windows = official.frames[np.flatnonzero(np.isin(official.units, kept))]
    yield _answered("line", windows, student, expert)
    yield _answered("dwell", _dwelling(windows[::4]), student, expert)
    yield _answered("pairs", _pairs(data_folder(), boards), student, expert)


def _side() -> int:
    return decode_card((ROOT / "student" / "000001.card.json").read_bytes()).input.width


def _answered(name: str, frames: Frames, student: Path, expert: Path) -> Stream:
    print(f"{name}: {len(frames)} frames", file=sys.stderr, flush=True)
    spec = input_spec(int(frames.shape[1]))
    own, best = (logits(path, frames, spec) for path in (student, expert))
    return Stream(
        name=name,
        looks=[describe(frame) for frame in frames],
        sure=SCORES["margin"](own),
        student=own.argmax(axis=1),
        expert=best.argmax(axis=1),
    )


def _video(path: Path, side: int, seconds: float | None) -> Frames:
    """Return a video's frames at ten a second, scaled as a device scales them."""
    if not path.is_file():
        raise InputError("the videos are not there.", "Set TERRACE_DATA to the folder of the real data.")
    source = VideoSource(path)
    source.open()
    rate, taken, due = source.rate(), [], 0.0
    for shot in source.shots(0):
        at = shot.index / rate
        if seconds is not None and at >= seconds:
            break
        if at >= due:
            taken.append(shot.look.pixels((side, side)))
            due += 1 / FPS
    source.close()
    return np.stack(taken)


def _dwelling(windows: Frames) -> Frames:
    """Return each window DWELL times, with noise of NOISE levels and a flicker of half as much."""
    random = np.random.default_rng(0)
    seen = windows.repeat(DWELL, axis=0).astype(np.float32)
    seen += random.normal(0.0, NOISE / 2, (len(seen), 1, 1, 1)).astype(np.float32)
    seen += random.normal(0.0, NOISE, seen.shape).astype(np.float32)
    return np.asarray(np.clip(seen, 0, 255), np.uint8)


def _pairs(folder: Path, boards: int) -> Frames:
    """Return, for each fault, its place on the template and then on the board."""
    with np.load(folder / deeppcb.FILE, allow_pickle=False) as archive:
        chosen = np.flatnonzero(archive["split"] == 1)[:boards]
        boxes, tested, template = archive["boxes"].astype(np.int64), archive["test"][chosen], archive["template"][chosen]
    half, windows = deeppcb.SIZE_PX // 2, []
    for place, board in enumerate(chosen.tolist()):
        pair = [np.pad(np.unpackbits(bits[place], axis=1), half, mode="reflect") for bits in (template, tested)]
        for _, left, top, right, bottom, _label in boxes[boxes[:, 0] == board].tolist():
            row, column = (top + bottom) // 2, (left + right) // 2
            windows += [bits[row : row + 2 * half, column : column + 2 * half] for bits in pair]
    return np.repeat((np.stack(windows) * np.uint8(255))[..., None], 3, axis=3)


def _describe_us(side: int) -> float:
    frame = np.random.default_rng(0).integers(0, 255, (side, side, 3)).astype(np.uint8)
    return 1e6 * min(_timed(frame) for _ in range(20))


def _timed(frame: Frames) -> float:
    began = time.perf_counter()
    describe(frame)
    return time.perf_counter() - began
