"""A training job: what the cloud wishes, what the child is told, which cases it may take, what comes out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

Arrays = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
JOB, WEIGHTS, UPDATE, RESULT = "job.json", "weights.npz", "update.npz", "result.json"
"""The files of a job's folder."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud asks of a region's training.

    `side` is the student's input size in pixels; `turning` says whether pictures may be turned and put upside down.
    """

    classes: int
    side: int
    steps: int
    batch: int
    seed: int
    minimum_cases: int
    replay_share: float
    device_share: float
    turning: bool = True


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a training gives: the weights, on how many cases they rest, in how many steps, and the loss of the first and the last step."""

    arrays: Arrays
    examples: int
    steps: int
    first_loss: float = 0.0
    last_loss: float = 0.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told: files, limits of region.toml applied.

    `last_case` fixes which cases there are; under a drift alarm `since` (Unix seconds) is its beginning, else 0.
    """

    vault: Path
    replay: Path | None
    wish: Wish
    learning_rate: float
    threads: int
    nice: int
    last_case: int
    since: float = 0.0


def since_alarm(received_at: Sequence[float], since: float, *, minimum: int) -> int:
    """Return from which case on to train under a drift alarm: the first since its beginning, earlier where those are too few.

    Args:
        received_at: when each case arrived, oldest first, Unix seconds.
        since: when the alarm began; 0 without one: all cases.
        minimum: how many are needed.

    Example:
        >>> since_alarm([1.0, 2.0, 3.0, 4.0], 3.0, minimum=2), since_alarm([1.0, 2.0, 3.0, 4.0], 4.0, minimum=3)
        (2, 1)
    """
    first = next((place for place, at in enumerate(received_at) if at >= since), len(received_at))
    return max(0, min(first, len(received_at) - minimum))


def balanced(devices: Sequence[str], share: float) -> list[int]:
    """Return which cases to take so that no device has more than `share` of them; of each device the last ones.

    Args:
        devices: each case's device, oldest case first.
        share: 0 to 1; 1 takes all.

    Returns:
        Ascending indices; empty when there are too few devices for any choice to satisfy the share.
    """
    counts = Counter(devices)
    cap = max(counts.values(), default=0)
    while cap > 0 and cap > share * sum(min(count, cap) for count in counts.values()) + 1e-9:
        cap -= 1
    left = {device: min(count, cap) for device, count in counts.items()}
    taken = []
    for index in range(len(devices) - 1, -1, -1):
        if left[devices[index]] > 0:
            left[devices[index]] -= 1
            taken.append(index)
    return taken[::-1]


def encode_job(job: Job) -> bytes:
    """Return a job as JSON."""
    return msgspec.json.encode(job, enc_hook=str)


def decode_job(data: bytes) -> Job:
    """Parse a job file."""
    return msgspec.json.decode(data, type=Job, dec_hook=lambda _, value: Path(value))
