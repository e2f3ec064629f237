"""Compiling the C parts of a benchmark at run time; nothing compiled is kept or shipped."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shared.errors import DependencyError


def compiled(name: str, folder: Path, *flags: str) -> Path:
    """Compile `<name>.c`, which lies beside this file, into `folder`.

    Raises:
        DependencyError: there is no C compiler, or it refuses.
    """
    source, made = Path(__file__).with_name(f"{name}.c"), folder / name
    try:
        done = subprocess.run(["cc", "-O2", *flags, "-o", str(made), str(source)], capture_output=True, text=True)
    except OSError as error:
        raise DependencyError(f"there is no C compiler: {error.strerror}.", "Type: sudo apt-get install -y gcc libc6-dev") from error
    if done.returncode != 0:
        raise DependencyError(f"cc cannot compile {source.name}: {done.stderr.strip()[-300:]}", "Type: sudo apt-get install -y libc6-dev")
    return made
