"""What can be asked of cases without opening them: stream, frame, score and classes, a row beside each case.

Pictures and predictions stay sealed; these rows are what a gallery filters by and what a label is found by. They go with their case
(a trigger of the schema). SQLite keeps a NaN as NULL: no score, or no threshold to compare it with. A vault made before there were such
rows gets them when it is opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from shared.wire.messages import Case, Prediction

LARGEST = 2**53
LATEST = 253_402_300_799.0
"""The last second of the year 9999."""
MISSING = "SELECT id FROM cases WHERE id NOT IN (SELECT id FROM facts) ORDER BY id LIMIT 500"
_INSERT = "INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def note(connection: sqlite3.Connection, case_id: int, case: Case, answer: Prediction | None = None) -> None:
    """Write a case's row inside the transaction that stores it."""
    values = (case.stream, _fitting(case.frame), moment(case.captured_at), case.reason, case.score, case.threshold, _fitting(case.release))
    classes = (len(case.prediction.probabilities), _fitting(case.prediction.index), None if answer is None else answer.index)
    connection.execute(_INSERT, (case_id, *values, *classes))


def moment(said: float) -> float:
    """Return a device's time as one that people's clocks and calendars know, Unix seconds; nonsense becomes 0."""
    return said if 0.0 <= said <= LATEST else 0.0


def _fitting(number: int) -> int:
    """Return a number a device said as one SQLite can hold: whatever it says, its case must not cost the others of its batch."""
    return min(max(number, -1), LARGEST)


def note_answers(connection: sqlite3.Connection, answers: Iterable[tuple[int, Prediction]]) -> None:
    """Write the expert's classes; the first answer stays."""
    connection.executemany(
        "UPDATE facts SET expert = ? WHERE id = ? AND expert IS NULL", [(answer.index, case) for case, answer in answers]
    )
