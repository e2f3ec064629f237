"""Where profiles lie and which one is meant: reads files and looks at this machine.

Lookup order for a name: the folder given (`--profiles`, `model.profiles`), `hw-profiles/` of a checkout, the folder inside the
installed package. The first folder that has the name wins. `auto` is `generic-x86` or `generic-arm64`, by processor.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

from shared.errors import ConfigurationError
from shared.hwprofile.profile import Machine, Profile, parse

AUTO = {"x86_64": "generic-x86", "amd64": "generic-x86", "aarch64": "generic-arm64", "arm64": "generic-arm64"}
_HERE = Path(__file__).resolve()


def folders(given: Path | None = None) -> list[Path]:
    """Return the folders that are searched, in order."""
    return [*([given] if given is not None else []), _HERE.parents[2] / "hw-profiles", _HERE.parent / "profiles"]


def names(given: Path | None = None) -> dict[str, Path]:
    """Return every profile's name and file, the first folder winning."""
    found: dict[str, Path] = {}
    for folder in folders(given):
        for file in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
            found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def find(name: str, given: Path | None = None) -> Profile:
    """Read a profile by name, or this machine's generic one for `auto`.

    Raises:
        ConfigurationError: there is none of that name, or its file is not valid.
    """
    if given is not None and not given.is_dir():
        raise ConfigurationError(f"there is no folder of hardware profiles {given}.", "Give its path with --profiles.")
    wanted = AUTO.get(platform.machine().lower(), "generic-x86") if name == "auto" else name
    known = names(given)
    if wanted not in known:
        raise ConfigurationError(f"there is no hardware profile {wanted!r}.", f"Known: {', '.join(known) or 'none'}.")
    try:
        text = known[wanted].read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the hardware profile {known[wanted]} cannot be read: {error}.") from error
    return parse(text, name=wanted)


def this_machine() -> Machine:
    """Look at the machine this runs on; ONNX Runtime is asked where it is installed."""
    providers: tuple[str, ...] = ()
    if importlib.util.find_spec("onnxruntime") is not None:
        from shared.engines.onnx import available_providers

        providers = available_providers()
    return Machine(
        machine=platform.machine().lower(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20),
        providers=providers,
        has_tensorrt=importlib.util.find_spec("tensorrt") is not None,
    )
