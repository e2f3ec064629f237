"""The child that trains: `python -m region.training_child FOLDER`. Reads the job and the vault, writes the update, ends.

Under a drift alarm it learns from the cases since the alarm: those of before show what the student knows already, and the replay keeps it.

One torch thread, low priority, deterministic by seed. The student starts from the round's weights and learns the expert's soft
labels on the region's cases, with a share of replayed pictures in every batch so that what was known is kept (see docs/decisions,
learning in a round).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import typer
from torch import nn

from region.cases import StoredCase
from region.jobs import JOB, RESULT, UPDATE, WEIGHTS, Job, balanced, decode_job, since_alarm
from region.vault import Vault
from shared import durable
from shared.errors import FederationError, TerraceError
from shared.learning import architectures, arrays, loop
from shared.learning.samples import Augmentation, Frames, Samples
from shared.vision import picture, preprocess
from shared.vision.tasks.task import is_classification

SMALLEST_PROBABILITY = 1e-7
"""An answer's probability is at least this before its logarithm is taken."""


def main(folder: Path) -> None:
    """Do the job in `folder`.

    Raises:
        FederationError: there is too little to train on.
    """
    job = decode_job((folder / JOB).read_bytes())
    os.nice(job.nice)
    samples = cases(job)
    model = architectures.student(job.wish.classes, side=job.wish.side)
    arrays.from_arrays(model, arrays.load(folder / WEIGHTS))
    losses = learn(model, samples, replay(job), job)
    arrays.save(folder / UPDATE, arrays.to_arrays(model))
    result = {"examples": len(samples), "steps": len(losses), "first_loss": losses[0], "last_loss": losses[-1]}
    durable.write(folder / RESULT, json.dumps(result).encode(), mode=0o600)


def learn(model: nn.Module, samples: Samples, known: Samples | None, job: Job) -> list[float]:
    """Train the round's student in place on new cases and on what is replayed, and return the loss of every step."""
    turning = job.wish.turning
    varied = Augmentation(upside_down=turning, quarter_turns=turning, shift_px=max(1, job.wish.side // 16))
    recipe = loop.Recipe(
        steps=job.wish.steps,
        batch=job.wish.batch,
        rate=job.learning_rate,
        replay_share=job.wish.replay_share,
        seed=job.wish.seed,
        threads=job.threads,
        augmentation=varied,
    )
    return loop.train(model, samples, recipe, replay=None if known is None else remembered(model, known))


def remembered(model: nn.Module, known: Samples) -> Samples:
    """Return replayed pictures whose logits lie half-way between the expert's and those of the round's student before it learns.

    The expert alone pulls the student away from what the fleet runs; the student alone could never get better on what it knows.
    """
    own = loop.predict(model, known.frames)
    mixed = own if known.logits is None else 0.5 * (own + known.logits)
    return Samples(frames=known.frames, labels=known.labels, logits=np.asarray(mixed, np.float32))


def cases(job: Job) -> Samples:
    """Return the region's training cases with the expert's soft labels, as logits up to a constant (the logarithm of its probabilities).

    Raises:
        FederationError: fewer than the minimum.
    """
    vault = Vault(job.vault, read_only=True)
    vault.start()
    try:
        found = [case for case in vault.cases(split="train", answered=True) if case.id <= job.last_case]
    finally:
        vault.stop()
    found = found[since_alarm([case.received_at for case in found], job.since, minimum=job.wish.minimum_cases) :]
    chosen = [found[index] for index in balanced([case.device for case in found], job.wish.device_share)]
    frames, answers = _decoded(chosen, job.wish)
    if len(frames) < job.wish.minimum_cases:
        raise FederationError(
            f"{len(frames)} of {len(found)} training cases may be used, {job.wish.minimum_cases} are needed "
            f"(at most {job.wish.device_share:.0%} from one device)."
        )
    logits = np.log(np.maximum(np.asarray(answers, np.float32), SMALLEST_PROBABILITY))
    return Samples(frames=np.stack(frames), labels=logits.argmax(axis=1).astype(np.int64), logits=logits)


def _decoded(chosen: list[StoredCase], wish: object) -> tuple[list[Frames], list[tuple[float, ...]]]:
    side, classes = int(getattr(wish, "side", 0)), int(getattr(wish, "classes", 0))
    frames, answers = [], []
    for case in chosen:
        if case.answer is None or len(case.answer.probabilities) != classes or not is_classification(case.answer):
            continue  # regions train classifiers only
        try:
            pixels = picture.decode(case.case.picture)
        except TerraceError:
            continue  # a damaged picture teaches nothing
        frames.append(preprocess.resize(pixels[None], height=side, width=side)[0])
        answers.append(case.answer.probabilities)
    return frames, answers


def replay(job: Job) -> Samples | None:
    """Return the replay set (pictures of the cloud's seed set, with the expert's logits where it has them).

    Raises:
        FederationError: there is none, though the round asks for a share of it, or its classes are others.
    """
    if job.wish.replay_share == 0.0:
        return None
    if job.replay is None or not job.replay.exists():
        raise FederationError("the replay set has not arrived from the cloud yet.", "It comes with the releases; try again later.")
    with job.replay.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        frames, labels = archive["frames"], archive["labels"].astype(np.int64)
        logits = archive["logits"].astype(np.float32) if "logits" in archive.files else _hard(labels, job.wish.classes)
    if logits.shape != (len(labels), job.wish.classes):
        raise FederationError(f"the replay set has logits {logits.shape}, {job.wish.classes} classes are wanted.")
    sized = preprocess.resize(frames, height=job.wish.side, width=job.wish.side)
    return Samples(frames=sized, labels=labels, logits=logits)


def _hard(labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]], classes: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    logits = np.full((len(labels), classes), np.log(SMALLEST_PROBABILITY), np.float32)
    logits[np.arange(len(labels)), labels] = 0.0
    return logits


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except TerraceError as failure:
        typer.echo(str(failure), err=True)
        sys.exit(failure.exit_code)
