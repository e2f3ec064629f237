"""A GPU of NVIDIA as the driver tells of it. Pure: `driver` asks."""

from __future__ import annotations

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU: name, compute capability such as `8.7`, memory in MB (2^20 bytes)."""

    name: str
    capability: str
    memory_mb: int = 0
