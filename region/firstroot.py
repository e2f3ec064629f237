"""The root of trust a region was provisioned with, from which it believes releases."""

from __future__ import annotations

from region.config import RegionSettings
from shared.errors import IdentityError


def first_root(settings: RegionSettings) -> bytes:
    """Return it.

    Raises:
        IdentityError: it cannot be read.
    """
    path = settings.releases_root
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(
            f"the releases' first root {path} cannot be read: {error.strerror}.",
            "Copy 1.root.json of the cloud's repository there, or set [relay] root.",
        ) from error
