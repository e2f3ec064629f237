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
from pathlib import Path

import numpy as np

from region.jobs import JOB, RESULT, UPDATE, WEIGHTS, Arrays, Job, Outcome, encode_job
from shared.errors import FederationError, StorageError
from shared.lifecycle import die_with_parent


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
    with (folder / UPDATE).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: np.asarray(archive[name], np.float32) for name in archive.files}
    losses = {name: float(result[name]) for name in ("first_loss", "last_loss")}
    return Outcome(arrays=arrays, examples=int(result["examples"]), steps=int(result["steps"]), **losses)
