"""The drift that comes to the demo's sites: labelled streams as a drifted site would have taken them, drawn beside the running fleet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from provisioning.drift import drifted

SEED = 7
"""Both sites meet the same drift, as when a supplier changes the boards' finish: what one has learnt can help the other."""


def draw(sources: Mapping[str, str], folder: str, strength: float) -> dict[str, str]:
    """Write a drifted copy of each labelled .npz and return the copies' paths by name; labels, units and places stay.

    Args:
        sources: .npz paths by name.
        folder: where to; made.
        strength: of the drift, 0 to 1.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    made = {}
    for name, path in sources.items():
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as data:
            content = {key: data[key] for key in data.files}
        content["frames"] = drifted(content["frames"], strength=strength, seed=SEED)
        made[name] = str(Path(folder) / f"{name}.npz")
        np.savez(made[name], allow_pickle=False, **content)
    return made
