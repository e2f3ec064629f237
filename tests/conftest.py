"""What holds for every test: nothing reports to anybody, and what a command sets up for the log ends with its test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True)
def unconfigured_log() -> Iterator[None]:
    yield
    structlog.reset_defaults()
