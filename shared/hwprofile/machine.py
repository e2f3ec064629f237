"""What a machine is, as far as a profile asks: values, and how the texts a system keeps about itself are read. Pure: `look` reads them.

Sources: Linux's /proc/cpuinfo, /proc/meminfo and device tree (Devicetree specification 0.4, 2.3.1 `compatible`), NVIDIA's
/etc/nv_tegra_release and /proc/driver/nvidia/version.
"""

from __future__ import annotations

import re

import msgspec

from shared.engines.gpu import Gpu

INT8_INSTRUCTIONS = {
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
    "amx_int8": "AMX",
    "asimddp": "SDOT",
    "i8mm": "I8MM",
}
"""Flags of /proc/cpuinfo that mean the processor multiplies 8-bit integers, and the names people know them by."""
_L4T = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_DRIVER = re.compile(r"(?:NVRM version|Kernel Module).*?(\d+\.\d+(?:\.\d+)*)", re.DOTALL)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile is checked against.

    `machine` is the processor's architecture, `cores` those this process may use, `memory_mb` the whole memory, `providers` ONNX
    Runtime's. `board` and `compatible` come from the device tree, `features` are the processor's flags that matter to INT8,
    `system` names kernel and, on a Jetson, the L4T release; `driver` is NVIDIA's. Versions are empty where a thing is missing.
    """

    machine: str
    cores: int
    memory_mb: int
    providers: tuple[str, ...]
    has_tensorrt: bool = False
    tensorrt: str = ""
    onnxruntime: str = ""
    board: str = ""
    compatible: tuple[str, ...] = ()
    processor: str = ""
    features: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    system: str = ""

    @property
    def label(self) -> str:
        """The machine in a few words, for people."""
        return self.board or self.processor or self.machine

    @property
    def built_for(self) -> str:
        """What an engine built here depends on beside its library: board, GPUs and driver."""
        return "\n".join([self.label, *(gpu.name for gpu in self.gpus), self.driver, self.system])


def board_name(model: bytes) -> str:
    """Return the board's name from the device tree's `model`."""
    return model.rstrip(b"\0").decode("utf-8", "replace").strip()


def compatible(entries: bytes) -> tuple[str, ...]:
    """Return the entries of the device tree's `compatible`, the most exact first."""
    return tuple(one.decode("ascii", "replace") for one in entries.split(b"\0") if one)


def processor(cpuinfo: str) -> str:
    """Return the processor's name from /proc/cpuinfo; empty on ARM, where the kernel gives numbers only."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Processor"):
            return value.strip()
    return ""


def int8_features(cpuinfo: str) -> tuple[str, ...]:
    """Return the flags of /proc/cpuinfo that speed INT8 up, in the table's order."""
    flags: set[str] = set()
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags.update(value.split())
    return tuple(flag for flag in INT8_INSTRUCTIONS if flag in flags)


def memory_mb(meminfo: str, key: str = "MemTotal") -> int | None:
    """Return a figure of /proc/meminfo in MB (2^20 bytes), None where it is not there."""
    found = re.search(rf"^{re.escape(key)}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def l4t(release: str) -> str:
    """Return `L4T 36.4.3` from /etc/nv_tegra_release, empty when the text is not that."""
    found = _L4T.search(release)
    return f"L4T {found[1]}.{found[2]}" if found else ""


def driver(version: str) -> str:
    """Return the driver's version from /proc/driver/nvidia/version, empty when the text is not that."""
    found = _DRIVER.search(version)
    return found[1] if found else ""


def version(text: str) -> tuple[int, ...]:
    """Return a version's leading numbers, for comparison: `10.4.0.post1` is (10, 4, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(one) for one in found[0].split(".")) if found else ()
