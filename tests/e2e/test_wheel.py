"""What users install: the built wheel, and each extra alone in a clean environment. Slow: `make test-long`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_WITH = {
    "edge": ("shared.learning", "shared.serving"),
    "provision": ("shared.learning", "shared.serving"),
    "region": (),
    "cloud": (),
}
IMPORT_ALL = """
import importlib, pkgutil, sys
packages, left_out = sys.argv[1].split(","), tuple(filter(None, sys.argv[2].split(",")))
for package in packages:
    for found in pkgutil.walk_packages([importlib.import_module(package).__path__[0]], package + "."):
        if not found.name.endswith("__main__") and not found.name.startswith(left_out or ("-",)):
            importlib.import_module(found.name)
            print(found.name)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)])
    return next(folder.glob("terrace-*.whl"))


def run(command: list[str], *, cwd: Path | None = None) -> str:
    ours = {name: value for name, value in os.environ.items() if name != "TERRACE_LONG"}  # the long searches run once, in the checkout
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ours, timeout=1200)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("extra", sorted(NOT_WITH))
def test_extra_alone_imports_shared_and_its_tier(extra: str, wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run([sys.executable, "-m", "venv", str(environment)])
    python = str(environment / "bin" / "python")
    torch = next(line for line in (ROOT / "constraints/all.txt").read_text().splitlines() if line.startswith("torch=="))
    if extra in ("region", "cloud"):
        subprocess.run([python, "-m", "pip", "install", "-q", f"{torch}+cpu"], capture_output=True)  # else the default build comes
    run([python, "-m", "pip", "install", "-q", "-c", str(ROOT / f"constraints/{extra}.txt"), f"{wheel}[{extra}]"])
    tier = "provisioning" if extra == "provision" else extra
    imported = run([python, "-c", IMPORT_ALL, f"shared,{tier}", ",".join(NOT_WITH[extra])], cwd=tmp_path)
    assert f"{tier}.cli" in imported
    run([str(environment / "bin" / "terrace"), tier if extra != "provision" else "provision", "--help"], cwd=tmp_path)


def test_a_missing_extra_is_named(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run([sys.executable, "-m", "venv", str(environment)])
    run([str(environment / "bin" / "python"), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints/edge.txt"), str(wheel)])
    done = subprocess.run([str(environment / "bin" / "terrace"), "cloud", "serve"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 17
    assert "terrace[cloud]" in done.stderr


def test_the_suite_passes_against_the_wheel(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    run([sys.executable, "-m", "venv", str(environment)])
    python = str(environment / "bin" / "python")
    torch = next(line for line in (ROOT / "constraints/all.txt").read_text().splitlines() if line.startswith("torch=="))
    subprocess.run([python, "-m", "pip", "install", "-q", f"{torch}+cpu"], capture_output=True)  # else the default build comes
    run([python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints/all.txt"), f"{wheel}[all,dev]"])
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    of_the_checkout = [f"--ignore=tests/{name}" for name in ("arch", "probe", "unit/test_docs.py", "unit/test_models.py")]
    run([python, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", "not slow", *of_the_checkout], cwd=tmp_path)
    assert str(environment) in run([python, "-c", "import provisioning; print(provisioning.__file__)"], cwd=tmp_path)
