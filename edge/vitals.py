"""Reads what the governor goes by from the system's files: temperatures and their limits, throttling, power mode, memory.

Nothing but files of /sys, /proc and /var/lib; a file that is missing or cannot be read says nothing. Lag is not here: the agent knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge import heat
from edge.governor import Reading
from edge.heat import Zone

THROTTLED = "sys/devices/platform/soc*/*firmware/get_throttled"
POWER_MODE = "var/lib/nvpmodel/status"


class Vitals:
    """The machine's vital signs.

    Args:
        root: where /sys, /proc and /var are looked for.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def reading(self, lag: float | None = None) -> Reading:
        """Return what can be read now, with the agent's own lag."""
        nearest = heat.nearest(self.zones())
        return Reading(
            headroom_c=nearest.headroom_c if nearest else None,
            memory_free=heat.memory_free(_text(self._root / "proc/meminfo")),
            lag=lag,
            throttled=", ".join(filter(None, (heat.throttled(_text(one)) for one in self._root.glob(THROTTLED)))),
            power_mode=heat.power_mode(_text(self._root / POWER_MODE)),
        )

    def zones(self) -> list[Zone]:
        """Return the thermal zones that have a limit."""
        folders = sorted((self._root / "sys/class/thermal").glob("thermal_zone*"))
        found = (heat.zone(_text(one / "type"), _text(one / "temp"), dict(_trips(one))) for one in folders)
        return [zone for zone in found if zone is not None]


def _trips(zone: Path) -> Iterable[tuple[str, str]]:
    """Give the zone's trip points; of one kind, the lowest stands."""
    points = [(_text(kind), _text(kind.with_name(kind.name.replace("_type", "_temp")))) for kind in zone.glob("trip_point_*_type")]
    return sorted(points, key=lambda point: heat.degrees(point[1]) or 0.0, reverse=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
