"""The rules are a test: every value of the yardstick is met."""

import pytest

from tests.arch.size import Row, rows

ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_value_is_met(row: Row) -> None:
    assert row.met, f"{row.name}: {row.value:g}, aimed for {row.aim:g}: {', '.join(row.examples[:12])}"
