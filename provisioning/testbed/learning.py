"""What a round taught, measured on the INT8 files devices run: the drift's damage, what was won back, and what another site gained.

Runs beside the fleet, in a process of its own; takes and returns plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provisioning.testbed import offline
from provisioning.testbed.intervals import difference, estimate
from provisioning.testbed.learned import Learned, ModelFiles, Question


def answer(question: Question) -> Learned:
    """Measure."""
    units = [_units(paths) for paths in (question.held_out, question.b_drifted, question.clean)]
    held_out, drifted, b = question.held_out, question.held_out_drifted, question.b_drifted
    b_after, b_control = _right(question.after, b), _right(question.control, b)
    clean_before, clean_after = _right(question.before, question.clean), _right(question.after, question.clean)
    return Learned(
        before_clean=estimate(_right(question.before, held_out), units[0]),
        before_drifted=estimate(_right(question.before, drifted), units[0]),
        after_drifted=estimate(_right(question.after, drifted), units[0]),
        expert_clean=estimate(_right(question.expert, held_out), units[0]),
        expert_drifted=estimate(_right(question.expert, drifted), units[0]),
        b_before=estimate(_right(question.before, b), units[1]),
        b_control=estimate(b_control, units[1]),
        b_after=estimate(b_after, units[1]),
        transfer=difference(b_after, b_control, units[1]),
        forgotten=difference(clean_before, clean_after, units[2]),
    )


def _right(model: ModelFiles, paths: Sequence[str]) -> list[bool]:
    return [one for path in paths for one in offline.right(Path(model.model), Path(model.card), Path(path))]


def _units(paths: Sequence[str]) -> list[str]:
    return [f"{Path(path).stem} {unit}" for path in paths for unit in offline.truth(Path(path)).units]
