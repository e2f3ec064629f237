"""Nothing we run reports to anybody: the `terrace` command switches ONNX Runtime's telemetry off, for its children too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.testbed.data import models_for

MODEL = models_for("line", print) / "student" / "000001.onnx"
ENGINE = "import shared.cli; from pathlib import Path; from shared.engines.onnx import OnnxEngine; OnnxEngine(Path({!r}), threads=1).load()"
QUANTISER = "import shared.cli; import cloud.foundry.quantise; import onnxruntime; onnxruntime.InferenceSession({!r})"


@pytest.mark.parametrize("code", [ENGINE, QUANTISER], ids=["engine", "quantiser"])
def test_a_session_leaves_no_trace(code: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "torch")}
    done = subprocess.run([sys.executable, "-c", code.format(str(MODEL))], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.name == ".ses" or "Microsoft" in path.parts] == []
