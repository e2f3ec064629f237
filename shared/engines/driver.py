"""Which GPUs NVIDIA's driver knows, asked of libcuda by ctypes: it comes with the driver, so neither CUDA nor a package is needed.

A machine without the driver, or whose driver finds no GPU, has none; that is no error. (CUDA driver API: cuInit, cuDeviceGetCount,
cuDeviceGetName, cuDeviceGetAttribute, cuDeviceTotalMem_v2.)
"""

from __future__ import annotations

import ctypes
from typing import Any

from shared.engines.gpu import Gpu

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NAME_BYTES = 256


def gpus(library: str = LIBRARY) -> tuple[Gpu, ...]:
    """Return this machine's GPUs, empty where there is no driver or no GPU."""
    try:
        cuda: Any = ctypes.CDLL(library)
    except OSError:
        return ()
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    found = (_gpu(cuda, number) for number in range(count.value))
    return tuple(one for one in found if one is not None)


def _gpu(cuda: Any, number: int) -> Gpu | None:
    device, name, size = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    major, minor = ctypes.c_int(), ctypes.c_int()
    failed = (
        cuda.cuDeviceGet(ctypes.byref(device), number)
        or cuda.cuDeviceGetName(name, _NAME_BYTES, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        or cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    )
    if failed:
        return None
    return Gpu(name=name.value.decode("utf-8", "replace"), capability=f"{major.value}.{minor.value}", memory_mb=size.value >> 20)
