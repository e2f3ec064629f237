"""What a cached engine's file is: its name, its bytes, its HMAC. Pure; the folder and the key are in `plans`.

`TRTP1` ‖ HMAC-SHA256(key, name ‖ plan) ‖ plan; the name is the SHA-256 of everything the plan was built from; a timing
cache is kept the same way, under a name of the machine alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from shared.engines.quantised import VERSION

MAGIC = b"TRTP1"
_TAG = 32


def plan_name(*, model: bytes, runtime: str, capability: str, built_for: str, precision: str, largest_batch: int) -> str:
    """Return the name of the plan for a model on a machine.

    Args:
        model: the bytes of the `.onnx` file.
        runtime: TensorRT's version.
        capability: the GPU's compute capability.
        built_for: board and driver.
        precision: fp32, fp16 or int8.
        largest_batch: the largest batch the plan is built for.
    """
    parts = [hashlib.sha256(model).hexdigest(), runtime, capability, built_for, precision, str(largest_batch), str(VERSION)]
    return _digest("plan", parts)


def timings_name(*, runtime: str, capability: str, built_for: str) -> str:
    """Return the name of the timing cache of a machine; arguments as in `plan_name`."""
    return _digest("timings", [runtime, capability, built_for])


def seal(key: bytes, name: str, plan: bytes) -> bytes:
    """Return the bytes of a cache file."""
    return MAGIC + hmac.digest(key, name.encode() + plan, "sha256") + plan


def unseal(key: bytes, name: str, data: bytes) -> bytes | None:
    """Return the plan of a cache file, None when it is not one of ours under this name."""
    tag, plan = data[len(MAGIC) : len(MAGIC) + _TAG], data[len(MAGIC) + _TAG :]
    if data[: len(MAGIC)] != MAGIC or not hmac.compare_digest(tag, hmac.digest(key, name.encode() + plan, "sha256")):
        return None
    return plan


def _digest(kind: str, parts: list[str]) -> str:
    return hashlib.sha256(json.dumps([kind, *parts]).encode()).hexdigest()  # JSON, so that no part can run into the next
