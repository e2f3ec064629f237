"""Where profiles lie and which one is meant: reads their files.

Lookup order for a name: the folder given (`--profiles`, `model.profiles`), `hw-profiles/` of a checkout, the folder inside the
installed package. The first folder that has the name wins. `auto` is the profile for an edge that fits this machine best (`fit`): its
board's, or the generic one of its processor.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from shared.errors import ConfigurationError
from shared.hwprofile import fit, look
from shared.hwprofile.profile import Profile, parse

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


def find(name: str, given: Path | None = None, *, kinds: Collection[str] = ("edge",)) -> Profile:
    """Read a profile by name, or the one that fits this machine best for `auto`.

    Args:
        name: the profile's.
        given: a folder that is searched first.
        kinds: whose profiles `auto` looks at: `edge`, `region`.

    Raises:
        ConfigurationError: there is none of that name, or its file is not valid.
    """
    if given is not None and not given.is_dir():
        raise ConfigurationError(f"there is no folder of hardware profiles {given}.", "Give its path with --profiles.")
    known = names(given)
    if name == "auto":
        return _best(known, kinds)
    if name not in known:
        raise ConfigurationError(f"there is no hardware profile {name!r}.", f"Known: {', '.join(known) or 'none'}.")
    return _read(name, known[name])


def every(given: Path | None = None) -> list[Profile]:
    """Read every profile.

    Raises:
        ConfigurationError: one is not valid.
    """
    return [_read(name, file) for name, file in names(given).items()]


def _best(known: dict[str, Path], kinds: Collection[str]) -> Profile:
    profiles = {name: found for name, file in known.items() if (found := _read(name, file)).kind in kinds}
    fits = fit.best(profiles.values(), look.board() if "region" not in kinds else look.machine())
    if not fits or not fits[0].rank:
        raise ConfigurationError("no hardware profile fits this machine.", "Write one and name it in model.profile: terrace hw schema")
    return profiles[fits[0].profile]


def _read(name: str, file: Path) -> Profile:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the hardware profile {file} cannot be read: {error}.") from error
    return parse(text, name=name)
