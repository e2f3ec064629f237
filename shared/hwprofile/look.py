"""Looks at the machine this runs on: its files under /proc, /sys and /etc, its GPU's driver, the installed engines. Reads only.

`board` is quick and touches files alone; `machine` also asks the GPU's driver and the engines' libraries, which takes up to a second.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from pathlib import Path

import msgspec

from shared.engines.driver import gpus
from shared.hwprofile import machine as reading
from shared.hwprofile.machine import Machine

ROOT = Path("/")


def board(root: Path = ROOT) -> Machine:
    """Return what the machine is by its files; GPUs and engines are left out.

    Args:
        root: where /proc and /etc are looked for.
    """
    cpuinfo = _text(root / "proc/cpuinfo")
    release = reading.l4t(_text(root / "etc/nv_tegra_release"))
    return Machine(
        machine=platform.machine().lower(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=reading.memory_mb(_text(root / "proc/meminfo")) or 0,
        providers=(),
        board=reading.board_name(_bytes(root / "proc/device-tree/model")),
        compatible=reading.compatible(_bytes(root / "proc/device-tree/compatible")),
        processor=reading.processor(cpuinfo),
        features=reading.int8_features(cpuinfo),
        driver=reading.driver(_text(root / "proc/driver/nvidia/version")),
        system=" ".join(one for one in (platform.system(), platform.release(), release) if one),
    )


def machine(root: Path = ROOT) -> Machine:
    """Return what the machine is, with its GPUs and the engines that are installed."""
    providers: tuple[str, ...] = ()
    if importlib.util.find_spec("onnxruntime") is not None:
        from shared.engines.onnx import available_providers

        providers = available_providers()
    has_tensorrt = importlib.util.find_spec("tensorrt") is not None
    return msgspec.structs.replace(
        board(root),
        providers=providers,
        onnxruntime=_version("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml") if providers else "",
        has_tensorrt=has_tensorrt,
        tensorrt=_version("tensorrt") if has_tensorrt else "",
        gpus=gpus(),
    )


def _version(*names: str) -> str:
    """Return the version of the first of some distributions that is installed."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
