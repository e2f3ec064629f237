"""Setting files aside: what cannot be used is kept under another name, for whoever wants to look at it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def set_aside(path: Path, suffixes: Iterable[str]) -> Path:
    """Rename a file and what lies beside it to `NAME.aside-N`, each with its suffix; returns that name.

    Raises:
        OSError: the folder cannot be written.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    for suffix in suffixes:
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
    return aside
