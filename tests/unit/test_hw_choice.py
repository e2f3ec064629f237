"""Which profile fits a machine, and what then runs, with reasons: boards nobody here owns, as their systems describe them."""

import msgspec
import pytest

from shared.engines import providers
from shared.engines.gpu import Gpu
from shared.errors import EngineError
from shared.hwprofile import fit, shelf
from shared.hwprofile.choice import choose
from shared.hwprofile.machine import Machine

ORIN = Machine(
    machine="aarch64",
    cores=6,
    memory_mb=7620,
    providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
    has_tensorrt=True,
    tensorrt="10.3.0",
    onnxruntime="1.23.0",
    board="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    compatible=("nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234"),
    features=("asimddp",),
    gpus=(Gpu(name="Orin", capability="8.7", memory_mb=7620),),
)
PI = Machine(
    machine="aarch64",
    cores=4,
    memory_mb=8049,
    providers=("CPUExecutionProvider",),
    onnxruntime="1.23.2",
    board="Raspberry Pi 5 Model B Rev 1.0",
    compatible=("raspberrypi,5-model-b", "brcm,bcm2712"),
    features=("asimddp",),
)
V100 = Machine(
    machine="x86_64",
    cores=16,
    memory_mb=64000,
    providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
    has_tensorrt=True,
    tensorrt="10.9.0",
    onnxruntime="1.20.1",
    gpus=(Gpu(name="Tesla V100-SXM2-16GB", capability="7.0", memory_mb=16384),),
)
REPLACED = msgspec.structs.replace


@pytest.mark.parametrize(
    ("machine", "wanted", "rank"),
    [
        (ORIN, "jetson-orin-nano", 3),
        (PI, "raspberry-pi-5", 3),
        (V100, "v100", 2),
        (REPLACED(PI, board="", compatible=()), "generic-arm64", 1),
        (REPLACED(V100, gpus=()), "generic-x86", 1),
        (REPLACED(ORIN, has_tensorrt=False, tensorrt=""), "jetson-orin-nano", 3),
        (REPLACED(ORIN, compatible=("nvidia,p3509-0000+p3767-0003", "nvidia,tegra234")), "jetson-orin-nano", 3),
        (REPLACED(ORIN, compatible=("nvidia,p3768-0000+p3767-0000", "nvidia,tegra234")), "generic-arm64", 1),
    ],
)
def test_the_most_exact_profile_of_what_a_machine_is_wins(machine: Machine, wanted: str, rank: int) -> None:
    best = fit.best(shelf.every(), machine)[0]
    assert (best.profile, best.rank) == (wanted, rank)
    assert best.why


def test_a_machine_nothing_fits_has_rank_nought_everywhere_with_the_reason() -> None:
    found = fit.best(shelf.every(), REPLACED(PI, machine="riscv64"))
    assert {one.rank for one in found} == {0}
    assert all("riscv64" in one.why for one in found)


def test_a_jetson_with_tensorrt_runs_it() -> None:
    found = choose(shelf.find("jetson-orin-nano"), ORIN)
    assert (found.engine, found.precision, found.providers) == ("tensorrt", "int8", ())
    assert any("10.3.0" in why for why in found.why)


@pytest.mark.parametrize("lack", [{"has_tensorrt": False, "tensorrt": ""}, {"gpus": ()}])
def test_a_jetson_without_it_goes_on_by_onnx_runtime_and_says_why(lack: dict[str, object]) -> None:
    found = choose(shelf.find("jetson-orin-nano"), REPLACED(ORIN, **lack))
    assert (found.engine, found.providers[0]) == ("onnx", "CUDAExecutionProvider")
    assert any("TensorRT is not installed" in why or "no GPU" in why for why in found.why)


def test_a_profile_that_allows_nothing_else_stops_with_the_remedy() -> None:
    profile = shelf.find("jetson-orin-nano")
    strict = REPLACED(profile, engine=REPLACED(profile.engine, otherwise="stop"))
    with pytest.raises(EngineError, match="not installed") as caught:
        choose(strict, REPLACED(ORIN, has_tensorrt=False))
    assert "TensorRT" in caught.value.remedy


def test_tensorrt_that_no_longer_knows_the_gpu_is_not_used() -> None:
    profile = shelf.find("v100")
    native = REPLACED(profile, engine=REPLACED(profile.engine, name="tensorrt", otherwise="onnx"))
    late = choose(native, V100)
    assert late.engine == "onnx"
    assert any("later than 10.4" in why for why in late.why)
    assert not all(one.ok for one in fit.check(native, V100))
    assert choose(native, REPLACED(V100, tensorrt="10.4.0.26")).engine == "tensorrt"


def test_providers_that_are_missing_are_passed_over_by_name_and_none_left_is_an_error() -> None:
    found = choose(shelf.find("v100"), REPLACED(V100, providers=("CPUExecutionProvider",)))
    assert found.providers == ("CPUExecutionProvider",)
    assert any("CUDAExecutionProvider" in why for why in found.why)
    with pytest.raises(EngineError, match="none of"):
        choose(shelf.find("v100"), REPLACED(V100, providers=("AzureExecutionProvider",)))


def test_int8_on_a_processor_that_gains_nothing_by_it_is_said() -> None:
    slow = choose(shelf.find("generic-arm64"), REPLACED(PI, features=()))
    fast = choose(shelf.find("raspberry-pi-5"), PI)
    assert "little" in slow.why[-1]
    assert "SDOT" in fast.why[-1]


def test_provider_options_keep_answers_equal_and_engines_off_the_disk() -> None:
    assert providers.provider_options(providers.CUDA, "fp16")["use_tf32"] == "0"
    options = providers.provider_options(providers.TENSORRT, "fp16")
    assert (options["trt_fp16_enable"], options["trt_int8_enable"], options["trt_engine_cache_enable"]) == ("1", "0", "0")
    assert providers.provider_options(providers.CPU, "int8") == {}
    assert providers.needs_memory_pattern_off((providers.DIRECTML, providers.CPU))
    assert not providers.needs_memory_pattern_off((providers.CPU,))
