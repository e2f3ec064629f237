"""Where models built on this machine lie: one folder per data set under the cache, named by its content. No model is read here.

`TERRACE_CACHE` moves the cache; else it is `~/.cache/terrace`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

NAMED = ("line", "deeppcb", "fashion-mnist")


def cache() -> Path:
    """Return the cache's folder; it may not exist yet."""
    chosen = os.environ.get("TERRACE_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "terrace"


def built(data: str, task: str = "classification") -> Path:
    """Return the folder in which `terrace models build --data DATA` leaves the models of a data set.

    Args:
        data: line, deeppcb, fashion-mnist, or a folder; another content of the folder, another name.
        task: what the models do; other tasks than classification have folders of their own.
    """
    name = data if data in NAMED else f"folder-{listing(Path(data))[:16]}"
    return cache() / "models" / (name if task == "classification" else f"{name}-{task}")


def listing(folder: Path) -> str:
    """Return a SHA-256 in hex over the names, sizes and times of change of all files below a folder; of nothing when it is missing."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            state = path.stat()
            digest.update(f"{path.relative_to(folder)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
