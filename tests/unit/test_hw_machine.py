"""What a system says of itself is read as it stands, from real samples of it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.engines import driver
from shared.hwprofile import look, machine

CPUINFO_X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx512_vnni amx_int8\n"
CPUINFO_A76 = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd aes asimdhp asimddp\nCPU part\t: 0xd0b\n"
MEMINFO = "MemTotal:        8244792 kB\nMemFree:          123456 kB\nMemAvailable:    4096000 kB\n"
L4T = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Tue Jan 14 07:22:17 UTC 2025\nGCC version:  gcc version 12.3.0\n"
DRIVER_OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n"
COMPATIBLE = b"nvidia,p3768-0000+p3767-0005-super\0nvidia,tegra234\0"


def test_the_processor_and_its_instructions_are_read() -> None:
    assert machine.processor(CPUINFO_X86) == "AMD EPYC"
    assert machine.processor(CPUINFO_A76) == ""
    assert machine.int8_features(CPUINFO_X86) == ("avx512_vnni", "amx_int8")
    assert machine.int8_features(CPUINFO_A76) == ("asimddp",)


def test_memory_driver_and_release_are_read() -> None:
    assert machine.memory_mb(MEMINFO) == 8051
    assert machine.memory_mb(MEMINFO, "MemAvailable") == 4000
    assert machine.memory_mb(MEMINFO, "SwapTotal") is None
    assert machine.l4t(L4T) == "L4T 36.4.3"
    assert machine.driver(DRIVER) == "570.86.15"
    assert machine.driver(DRIVER_OPEN) == "540.4.0"
    assert machine.version("10.4.0.post1") == (10, 4, 0)


def test_the_device_tree_names_board_and_what_it_is_compatible_with() -> None:
    assert machine.board_name(b"NVIDIA Jetson Orin Nano Developer Kit\0") == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.compatible(COMPATIBLE) == ("nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234")


@given(st.text(max_size=200), st.binary(max_size=200))
def test_any_other_text_reads_as_nothing_known_and_never_fails(text: str, data: bytes) -> None:
    assert isinstance(machine.processor(text) + machine.driver(text) + machine.l4t(text) + machine.board_name(data), str)
    assert machine.memory_mb(text) is None or "MemTotal" in text
    assert all(machine.compatible(data))


def test_a_machine_is_looked_at_by_its_files(tmp_path: Path) -> None:
    texts = {"proc/cpuinfo": CPUINFO_A76, "proc/meminfo": MEMINFO, "etc/nv_tegra_release": L4T, "proc/driver/nvidia/version": DRIVER_OPEN}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "proc/device-tree").mkdir()
    (tmp_path / "proc/device-tree/compatible").write_bytes(COMPATIBLE)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    found = look.board(tmp_path)
    assert (found.label, found.memory_mb, found.driver) == ("NVIDIA Jetson Orin Nano Developer Kit", 8051, "540.4.0")
    assert found.system.endswith("L4T 36.4.3")
    assert found.features == ("asimddp",)


def test_a_machine_that_says_nothing_is_still_a_machine(tmp_path: Path) -> None:
    found = look.board(tmp_path)
    assert (found.board, found.compatible, found.memory_mb) == ("", (), 0)
    assert found.cores >= 1
    assert found.label == found.machine


def test_this_machine_has_memory_and_an_engine_and_no_driver_means_no_gpu() -> None:
    found = look.machine()
    assert found.memory_mb > 100
    assert "CPUExecutionProvider" in found.providers
    assert found.onnxruntime
    assert driver.gpus("libcuda-of-nowhere.so") == ()
