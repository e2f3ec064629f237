"""Training in the region: which cases, and a niced child process that does it, so that answers keep their latency.

Rules, in order:
1. Only cases of the training split that the expert has answered; never one of the evaluation split.
2. Of one device at most its share of the cases (the newest are kept), so that one device cannot own a round.
3. Fewer cases than the minimum is an error: the region says so and sends nothing.
4. Same weights, same cases, same seed, one thread: the same update, bit for bit.

The child reads the vault itself; pictures are decoded in its memory and never written. What passes between the two is a job file,
the weights, and the update.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from shared.errors import FederationError, StorageError
from shared.lifecycle import die_with_parent

Arrays = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
JOB, WEIGHTS, UPDATE, RESULT = "job.json", "weights.npz", "update.npz", "result.json"


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
    """What a training gives: the weights, on how many cases they rest, in how many steps."""

    arrays: Arrays
    examples: int
    steps: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told: files, limits of region.toml applied. `last_case` fixes which cases there are."""

    vault: Path
    replay: Path | None
    wish: Wish
    learning_rate: float
    threads: int
    nice: int
    last_case: int


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


def train(folder: Path, arrays: Arrays, job: Job, *, timeout_s: float) -> Outcome:
    """Run a training in a child process of low priority and return its outcome.

    Args:
        folder: the job's own folder; emptied of an earlier, unfinished attempt.
        arrays: the weights to begin with.
        job: what to do.
        timeout_s: after which the child is killed.

    Raises:
        FederationError: the child could not train, and why.
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / RESULT).unlink(missing_ok=True)
        np.savez(folder / WEIGHTS, allow_pickle=False, **arrays)
        (folder / JOB).write_bytes(encode_job(job))
    except OSError as error:
        raise StorageError(f"the training folder {folder} cannot be written: {error}.", "Free space on its disk.") from error
    _run(folder, job, timeout_s)
    return _outcome(folder)


def _run(folder: Path, job: Job, timeout_s: float) -> None:
    command = [sys.executable, "-m", "region.training_child", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads), "MKL_NUM_THREADS": str(job.threads)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise FederationError(f"the training did not end within {timeout_s:.0f} s.", "Lower training.steps in region.toml.") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise FederationError(f"the training failed: {lines[-1] if lines else f'exit code {done.returncode}'}")


def _outcome(folder: Path) -> Outcome:
    result = json.loads((folder / RESULT).read_bytes())
    with np.load(folder / UPDATE, allow_pickle=False) as archive:
        arrays = {name: np.asarray(archive[name], np.float32) for name in archive.files}
    return Outcome(arrays=arrays, examples=int(result["examples"]), steps=int(result["steps"]))
