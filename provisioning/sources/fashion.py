"""Fashion-MNIST (Xiao et al. 2017): grey 28 x 28 pictures of ten kinds of clothes; each picture is its own unit."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from provisioning.sources.pool import Pool, pool
from shared.errors import InputError

FILE = "fashion_mnist_28.npz"
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")


def load(folder: Path, *, official_test: bool) -> Pool:
    """Read the official train or test list.

    Raises:
        InputError: the file is missing or damaged.
    """
    path, part = folder / FILE, "test" if official_test else "train"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            grey, labels = archive[f"{part}_image"], archive[f"{part}_label"].astype(np.int64)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"Fashion-MNIST cannot be read from {path}: {error}.", "Set TERRACE_DATA to the folder that holds it.") from error
    units = np.array([f"{part}-{index:05d}" for index in range(len(labels))])
    return pool(np.repeat(grey[..., None], 3, axis=3), labels, units, NAMES)
