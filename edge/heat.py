"""What a system's files say of heat, power and memory. Pure: `vitals` reads the files.

Sources: Linux sysfs-class-thermal (trip_point_N_type, trip_point_N_temp in millidegrees); the Raspberry Pi firmware's get_throttled
(bits 0 to 3: under-voltage, frequency capped, throttled, soft temperature limit, now; bits 16 to 19: since the start); NVIDIA's nvpmodel,
which keeps `pmode:0000` in its status file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

TRIPS = ("passive", "hot", "critical")
"""Kinds of trip points that limit; `active` ones start a fan."""
SANE_C = (-40.0, 150.0)
LEAST_LIMIT_C = 40.0
"""Some firmware fills in trip points of a few degrees: they limit nothing."""
THROTTLED = {1: "under-voltage", 2: "frequency capped", 4: "throttled", 8: "soft temperature limit"}


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A thermal zone: its name, its temperature and the lowest limit it has, degrees Celsius."""

    name: str
    temperature_c: float
    limit_c: float

    @property
    def headroom_c(self) -> float:
        """Degrees below the limit."""
        return self.limit_c - self.temperature_c


def zone(name: str, temperature: str, trips: Mapping[str, str]) -> Zone | None:
    """Return a zone from its files, None when it has no sane temperature or no limit.

    Args:
        name: the file `type`.
        temperature: the file `temp`, millidegrees.
        trips: kind of a trip point to its millidegrees, of the points that could be read.
    """
    measured = degrees(temperature)
    limits = [limit for kind, text in trips.items() if kind in TRIPS and (limit := degrees(text)) is not None and limit >= LEAST_LIMIT_C]
    if measured is None or not limits:
        return None
    return Zone(name=name, temperature_c=measured, limit_c=min(limits))


def nearest(zones: Sequence[Zone]) -> Zone | None:
    """Return the zone nearest to its limit, None when there is none."""
    return min(zones, key=lambda one: one.headroom_c, default=None)


def throttled(text: str) -> str:
    """Return what a Raspberry Pi's firmware holds back now, in words, empty for nothing or a text that is not its."""
    found = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]+)\s*", text)
    bits = int(found[1], 16) if found else 0
    return ", ".join(words for bit, words in THROTTLED.items() if bits & bit)


def power_mode(text: str) -> str:
    """Return nvpmodel's mode as a number in words, empty for a text that is not its."""
    found = re.search(r"pmode:(\d+)", text)
    return str(int(found[1])) if found else ""


def memory_free(meminfo: str) -> float | None:
    """Return the share of memory that is available, None where the kernel does not say."""
    found = {key: int(value) for key, value in re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", meminfo, re.MULTILINE)}
    total = found.get("MemTotal", 0)
    return found["MemAvailable"] / total if total and "MemAvailable" in found else None


def degrees(text: str) -> float | None:
    """Return what a file says in millidegrees, None where that is no temperature."""
    try:
        value = int(text) / 1000.0
    except (ValueError, OverflowError):
        return None
    return value if SANE_C[0] <= value <= SANE_C[1] else None
