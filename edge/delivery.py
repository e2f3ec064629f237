"""Gets a release's two files onto the device: the model by delta where one leads to it, else whole. Both end in the signed hash."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.choice import delta_base
from edge.slots import Slot
from shared import log
from shared.errors import ProtocolError, TrustError
from shared.release import delta
from shared.release.desired import Wanted
from shared.release.trust import TargetInfo, TrustedClient

NO_DELTA = "delta_unusable"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of model and card, how many bytes came over the link for the model, and whether as a delta."""

    onnx: bytes
    card: bytes
    bytes_fetched: int
    by_delta: bool


class Deliveries:
    """Fetches releases of one family.

    Args:
        trust: the device's view of the repository.
        family: the model family.
        downloads: a folder for files on their way.
    """

    def __init__(self, trust: TrustedClient, *, family: str, downloads: Path) -> None:
        self._trust = trust
        self._family = family
        self._downloads = downloads

    def fetch(self, choice: Wanted, onnx: TargetInfo, card: TargetInfo, *, current: Slot | None) -> Delivery:
        """Fetch a release.

        Args:
            choice: which release.
            onnx: its model, as signed.
            card: its card, as signed.
            current: the slot in service, the base of a delta.

        Raises:
            LinkError: the relay is gone; what has come so far is gone on with.
            TrustError: a file is not the signed one.
        """
        described = self._trust.fetch(card.path, self._downloads / "card.json").read_bytes()
        found = self._by_delta(choice, onnx, current) if current is not None else None
        if found is not None:
            return Delivery(onnx=found[0], card=described, bytes_fetched=found[1], by_delta=True)
        content = self._trust.fetch(onnx.path, self._downloads / "model.onnx").read_bytes()
        return Delivery(onnx=content, card=described, bytes_fetched=onnx.length + card.length, by_delta=False)

    def clear(self) -> None:
        """Delete what was fetched; it lies in a slot now."""
        for left in self._downloads.iterdir():
            left.unlink()

    def _by_delta(self, choice: Wanted, onnx: TargetInfo, current: Slot) -> tuple[bytes, int] | None:
        running = current.record.release
        info = self._trust.target(choice.path(self._family, f"from-{running:06d}.delta"))
        if info is None or not delta_base(choice, running=running, delta_bytes=info.length, full_bytes=onnx.length):
            return None
        try:
            container = self._trust.fetch(info.path, self._downloads / "delta").read_bytes()
            content = delta.apply(current.onnx.read_bytes(), container, expect_sha256=onnx.sha256, limit_bytes=onnx.length)
        except (ProtocolError, TrustError) as error:
            log.get("updater").warning(NO_DELTA, release=choice.release, reason=str(error))
            return None
        return content, info.length
