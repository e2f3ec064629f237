"""What holds for every test: nothing reports to anybody, no example is timed, and what a command sets up for the log ends with its test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
settings.register_profile("untimed", deadline=None)  # speed is for the benches; a busy machine fails no test
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def unconfigured_log() -> Iterator[None]:
    yield
    structlog.reset_defaults()
