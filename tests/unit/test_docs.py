"""The pages under docs/ say what the code says: generated parts are equal, names that are named exist, examples parse."""

from __future__ import annotations

from pathlib import Path

from tests.docs import configuration

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_configuration_page_is_the_generated_one() -> None:
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == configuration.page(), "run: python -m tests.docs.configuration"
