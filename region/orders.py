"""What devices are asked to do while there is a drift alarm: draw more audit samples. Whom to tell when. Pure.

The word is soft state, said again and again: a device forgets it after a few minutes without, so neither a lost message nor a region
that is gone leaves a device sending more than it should. A device that was silent and is heard again is told at once.

Example:
    >>> orders = Orders()
    >>> orders.due({"edge-1": 10.0}, "0.25", now=11.0)
    ['edge-1']
    >>> orders.told("edge-1", "0.25", now=11.0)
    >>> orders.due({"edge-1": 12.0}, "0.25", now=13.0)
    []
    >>> orders.due({"edge-1": 12.0}, "", now=14.0)
    ['edge-1']
"""

from __future__ import annotations

from collections.abc import Mapping

AUDIT_SHARE = "audit-share"
"""The command's name; its argument is the share as a decimal number, or empty to end."""
AGAIN_S = 60.0
SILENT_S = 15.0


class Orders:
    """Remembers what each device was told, and when."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, float]] = {}

    def due(self, heard: Mapping[str, float], argument: str, *, now: float) -> list[str]:
        """Return the devices to tell now.

        Args:
            heard: when each device was last heard, Unix seconds.
            argument: what holds now; empty when nothing is asked for.
            now: Unix seconds.
        """
        here = {device for device, at in heard.items() if now - at <= SILENT_S}
        self._told = {device: word for device, word in self._told.items() if device in here}
        return [device for device in sorted(here) if self._is_due(device, argument, now)]

    def told(self, device: str, argument: str, *, now: float) -> None:
        """Note that a device was told; an ended order is not said again."""
        if argument:
            self._told[device] = (argument, now)
        else:
            self._told.pop(device, None)

    def _is_due(self, device: str, argument: str, now: float) -> bool:
        said = self._told.get(device)
        if said is None:
            return bool(argument)
        return said[0] != argument or now - said[1] >= AGAIN_S
