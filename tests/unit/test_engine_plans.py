"""A built engine is code: it is loaded only from a private folder and under our own HMAC."""

from pathlib import Path

import pytest

from shared.engines import planfile
from shared.engines.cuda import Cuda
from shared.engines.plans import PlanCache
from shared.errors import DependencyError, EngineError, StorageError

PLAN = b"plan bytes" * 100
FIELDS = {"model": b"m", "runtime": "10.3.0", "capability": "8.7", "built_for": "Orin\n540.4.0", "precision": "int8", "largest_batch": 16}


def test_the_name_changes_with_everything_a_plan_depends_on() -> None:
    base = planfile.plan_name(**FIELDS)  # type: ignore[arg-type]
    others = [
        {"model": b"n"},
        {"runtime": "10.4.0"},
        {"capability": "8.6"},
        {"built_for": "Orin\n540.5"},
        {"precision": "fp16"},
        {"largest_batch": 8},
    ]
    names = {base, *(planfile.plan_name(**{**FIELDS, **other}) for other in others)}  # type: ignore[arg-type]
    names.add(planfile.timings_name(runtime="10.3.0", capability="8.7", built_for="Orin\n540.4.0"))
    assert len(names) == 8


def test_a_plan_comes_back_for_its_own_name_only(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "cache")
    assert cache.get("one") is None
    cache.put("one", PLAN)
    assert PlanCache(tmp_path / "cache").get("one") == PLAN
    (tmp_path / "cache" / "two").write_bytes((tmp_path / "cache" / "one").read_bytes())
    assert cache.get("two") is None
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "cache" / "one").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", [0, 5, 36, 37, 500, -1])
def test_a_changed_plan_is_ignored(tmp_path: Path, place: int) -> None:
    cache = PlanCache(tmp_path / "cache")
    cache.put("one", PLAN)
    data = bytearray((tmp_path / "cache" / "one").read_bytes())
    data[place] ^= 1
    (tmp_path / "cache" / "one").write_bytes(bytes(data))
    assert cache.get("one") is None


def test_a_plan_of_another_machine_is_ignored(tmp_path: Path) -> None:
    PlanCache(tmp_path / "a").put("one", PLAN)
    PlanCache(tmp_path / "b").put("two", PLAN)
    (tmp_path / "b" / "one").write_bytes((tmp_path / "a" / "one").read_bytes())
    assert PlanCache(tmp_path / "b").get("one") is None


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    with pytest.raises(StorageError, match="open to others") as caught:
        PlanCache(tmp_path / "cache").get("one")
    assert "chmod 700" in caught.value.remedy


def test_a_cache_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        PlanCache(tmp_path / "file" / "cache").put("one", PLAN)


def test_a_machine_without_cuda_says_so() -> None:
    with pytest.raises(DependencyError, match="CUDA"):
        Cuda("libcudart-of-nowhere.so").open()
    with pytest.raises(EngineError, match="not open"):
        Cuda("libcudart-of-nowhere.so").allocate(4)
