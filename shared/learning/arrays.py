"""Models as plain arrays: `dict[str, np.ndarray]` float32, the form in which they are sent, stored and averaged.

Batch-norm statistics are kept apart from parameters: they belong to a region's cameras, and robust rules must not see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from shared.errors import FederationError, InputError

Arrays = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
STATISTICS = ("running_mean", "running_var")


def to_arrays(model: nn.Module) -> Arrays:
    """Return a copy of the model's parameters and batch-norm statistics, in the model's order, all float32."""
    return {
        name: value.detach().cpu().to(torch.float32).contiguous().numpy().copy()
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def from_arrays(model: nn.Module, arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
    """Load arrays into a model of the same architecture.

    Raises:
        FederationError: a name is missing or foreign, a shape differs, or a value is not finite.
    """
    expected = to_arrays(model)
    if set(arrays) != set(expected):
        odd = sorted(set(arrays) ^ set(expected))
        raise FederationError(f"the arrays do not fit the model: {', '.join(odd[:3])} missing or foreign.")
    for name, value in arrays.items():
        if value.shape != expected[name].shape:
            raise FederationError(f"the array {name} has the shape {value.shape}, the model has {expected[name].shape}.")
        if not np.isfinite(value).all():
            raise FederationError(f"the array {name} holds values that are not finite.")
    state = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in arrays.items()}
    model.load_state_dict(state, strict=False)


def is_statistic(name: str) -> bool:
    """Say whether an array is a batch-norm statistic and no parameter."""
    return name.rsplit(".", 1)[-1] in STATISTICS


def parameters(arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Arrays:
    """Return the parameters alone."""
    return {name: value for name, value in arrays.items() if not is_statistic(name)}


def statistics(arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Arrays:
    """Return the batch-norm statistics alone."""
    return {name: value for name, value in arrays.items() if is_statistic(name)}


def save(path: Path, arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
    """Write arrays as an .npz file whose bytes depend on the arrays alone."""
    np.savez(path, **dict(arrays))  # type: ignore[arg-type]  # the stub takes every keyword for allow_pickle


def load(path: Path) -> Arrays:
    """Read arrays that `save` wrote.

    Raises:
        InputError: the file is missing or no such archive.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], np.float32) for name in archive.files}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"the weights in {path} cannot be read: {error}.", "Build them again with `terrace models build`.") from error
