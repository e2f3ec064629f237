"""How a device's updater is put together from its settings; called by the composition root.

The release root came with the device's identity, so neither region nor network can choose another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edge.config import EdgeSettings
from edge.counters import Served
from edge.model import LoadedModel, MakeEngine, ModelSlot, open_model
from edge.slots import Slots
from edge.swap import Service
from edge.updater import Updater, UpdaterSettings
from shared.identity.store import Identity
from shared.link.https import HttpsClient
from shared.release.fetch import from_https
from shared.release.trust import TrustedClient, load_root
from shared.wire.messages import UpdateReport


def make_updater(
    settings: EdgeSettings,
    *,
    identity: Identity,
    models: ModelSlot,
    make_engine: MakeEngine,
    served: Mapping[int, Served],
    report: Callable[[UpdateReport], None],
) -> Updater:
    """Return the updater of a device.

    Args:
        settings: edge.toml.
        identity: the device's identity, with which the relay is asked.
        models: the model in use.
        make_engine: makes engines by the hardware profile.
        served: the pipeline's counts by release.
        report: takes the device's word on a release, for the uplink.

    Raises:
        IdentityError: there is no root of trust in the identity folder.
    """
    relay = HttpsClient(identity, settings.link.relay_url)
    trust = TrustedClient(settings.state / "trust", bootstrap_root=load_root(settings.release_root), fetch=from_https(relay.get))
    chosen = UpdaterSettings(
        device=settings.device,
        fleet=settings.fleet,
        interval_s=settings.update.interval_s,
        probation_frames=settings.update.probation_frames,
    )

    def service(release: int) -> Service:
        counted = served.get(release, Served())
        return Service(frames=counted.frames, failures=counted.failures, deferred=counted.deferred)

    def load(onnx: Path, card: Path) -> LoadedModel:
        return open_model(onnx, card, make_engine)

    return Updater(
        chosen,
        trust=trust,
        slots=Slots(settings.state / "slots"),
        models=models,
        load=load,
        service=service,
        report=report,
        downloads=settings.state / "downloads",
    )
