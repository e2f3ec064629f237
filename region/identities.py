"""The identities a region runs under: its own, and one per intake worker; all must be of this region and fleet."""

from __future__ import annotations

from region.config import RegionSettings
from shared import clock
from shared.errors import ConfigurationError, IdentityError
from shared.identity.store import Identity


def identities(settings: RegionSettings) -> tuple[Identity, list[Identity]]:
    """Load the region's identity and those of its intake workers.

    Raises:
        IdentityError: one is missing or cannot be used, or has expired.
        ConfigurationError: they belong to another region or fleet than the configuration says.
    """
    identity = Identity.load(settings.identity.folder)
    folders = sorted(path.parent for path in settings.identity.workers.glob("*/certificate.pem"))
    if not folders:
        raise IdentityError(
            f"there is no intake worker's identity in {settings.identity.workers}.",
            "Issue one with: terrace provision pki region --name intake-0",
        )
    workers = [Identity.load(folder) for folder in folders]
    for one in (identity, *workers):
        peer = one.check(clock.wall())
        if (peer.tier, peer.region, peer.fleet) != ("region", settings.name, settings.fleet):
            raise ConfigurationError(
                f"the identity in {one.folder} is {peer.common_name}, tier {peer.tier}, fleet {peer.fleet}; the configuration says"
                f" region {settings.name}, fleet {settings.fleet}.",
                "Correct `name` and `fleet`, or the identity folder.",
            )
    return identity, workers
