"""A long training that can be killed at any moment: its state lies in one file, and the next start goes on from there.

Here: the optimiser's steps, the rate, the file. Not here: what a step learns from; a function gives the loss of step k, and draws
whatever it draws from k alone, so that a training in three pieces ends where one in a single piece does.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from shared import log
from shared.durable import write
from shared.errors import StorageError
from shared.learning.loop import Progress, Recipe, rate_at

STATE_DAMAGED = "training_state_damaged"
DIGEST_BYTES = 32
EVERY_S = 60.0
"""How much work a kill may cost."""


def run(
    model: nn.Module,
    loss_of: Callable[[int], torch.Tensor],
    recipe: Recipe,
    *,
    state: Path,
    progress: Progress | None = None,
    every_s: float = EVERY_S,
) -> None:
    """Train a model in place and leave it in evaluation mode.

    Args:
        model: the network; its weights are replaced by the file's where there is one.
        loss_of: the loss of a step, counted from 0.
        recipe: `steps`, `rate`, `warmup`, `weight_decay` and `threads` are used.
        state: the file; written every `every_s` seconds and at the end. A damaged one is told in the log, and the training begun anew.
        progress: told after every step.
        every_s: seconds between two writings.

    Raises:
        StorageError: the file cannot be read or written, or is of another training.
    """
    torch.set_num_threads(recipe.threads)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub misses this keyword
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    done = _load(state, model, optimiser)
    written = time.monotonic()
    for step in range(done, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, recipe)
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(step)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        if progress is not None:
            progress(step + 1, recipe.steps, float(loss.detach()))
        if time.monotonic() - written >= every_s or step + 1 == recipe.steps:
            _save(state, model, optimiser, step + 1)
            written = time.monotonic()
    model.eval()


def _save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    buffer = io.BytesIO()
    torch.save({"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict()}, buffer)
    state = buffer.getvalue()
    write(path, hashlib.sha256(state).digest() + state)


def _load(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Return how many steps are done already; 0 where there is no file or a damaged one, and then nothing has been loaded.

    Raises:
        StorageError: the file is whole and of another training.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
    digest, state = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if hashlib.sha256(state).digest() != digest:
        log.get("training").warning(STATE_DAMAGED, path=str(path))
        return 0
    try:
        found = torch.load(io.BytesIO(state), weights_only=True)
        model.load_state_dict(found["model"])
        optimiser.load_state_dict(found["optimiser"])
        return int(found["step"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path} is the state of another training.", "Remove it; the training then begins anew.") from error
