"""Times, spans and sizes in words. Pure.

Example:
    >>> span(93784), size(2_400_000)
    ('1 day 2 h', '2.4 MB')
"""

from __future__ import annotations

import datetime as dt

_UNITS = (("day", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def span(seconds: float) -> str:
    """Return a span of time in its two largest units; tenths below ten seconds."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts: list[str] = []
    for name, length in _UNITS:
        count = int(seconds // length)
        if count or parts:
            parts.append(f"{count} {name}{'s' if name == 'day' and count != 1 else ''}")
            seconds -= count * length
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def day(moment: float) -> str:
    """Return a moment (Unix seconds) as day and minute, UTC; one that no calendar has as its number."""
    try:
        return dt.datetime.fromtimestamp(moment, tz=dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{moment:.0f} s"


def size(count: float) -> str:
    """Return bytes in the unit that suits them (powers of ten)."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
