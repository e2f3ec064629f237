"""What the doctor says: the checks, their order, which needs which, and how a row of findings reads. Pure.

Rules:
1. Checks come in the order of `NEEDS`; one whose need is not met is skipped and blames nobody.
2. An outcome is ok, wrong, unknown (nobody could be asked: no reason for alarm) or skipped.
3. The exit code is that of the first finding that is wrong: who must act (docs/operations.md); 0 when nothing is.

Example:
    >>> blocked_by("tls", {"names": Outcome.OK, "tcp": Outcome.WRONG})
    'tcp'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec

NEEDS: dict[str, tuple[str, ...]] = {
    "identity": (),
    "names": (),
    "clock": ("identity",),
    "tcp": ("names",),
    "tls": ("identity", "tcp"),
    "certificate": ("tls",),
    "access": ("certificate",),
    "region": ("access",),
    "round trip": ("region",),
    "throughput": ("access",),
    "relay": ("identity",),
}
"""Every check in its order, and what must not be wrong for it to be judged."""


class Outcome(Enum):
    """How a check ended."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check's end: what was found, what to do, and the exit code it asks for (0 unless wrong)."""

    check: str
    outcome: Outcome
    found: str
    remedy: str = ""
    exit_code: int = 0


def blocked_by(check: str, before: Mapping[str, Outcome]) -> str:
    """Return the check that keeps this one from being judged, empty when none does.

    Args:
        check: a key of `NEEDS`.
        before: how the checks before it ended.
    """
    return next((need for need in NEEDS[check] if before.get(need) in {Outcome.WRONG, Outcome.SKIPPED}), "")


def skipped(check: str, because: str) -> Finding:
    """Return the finding of a check that was not made, since `because` is wrong or was itself skipped."""
    return Finding(check=check, outcome=Outcome.SKIPPED, found=f"not looked at: {because} comes first")


def exit_code(findings: Sequence[Finding]) -> int:
    """Return the code of the first finding that is wrong, 0 when nothing is."""
    return next((found.exit_code for found in findings if found.outcome is Outcome.WRONG), 0)


def lines(finding: Finding) -> list[str]:
    """Return a finding as it is printed: the outcome first, the remedy indented below it."""
    mark = {Outcome.OK: "ok  ", Outcome.WRONG: "NO  ", Outcome.UNKNOWN: "?   ", Outcome.SKIPPED: "-   "}[finding.outcome]
    said = [f"{mark}{finding.check:12}{finding.found}"]
    return [*said, f"{'':16}-> {finding.remedy}"] if finding.remedy else said


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line."""
    wrong = [found.check for found in findings if found.outcome is Outcome.WRONG]
    if not wrong:
        return "Nothing is wrong with the link."
    return f"Begin with: {wrong[0]}." + (f" Also wrong: {', '.join(wrong[1:])}." if wrong[1:] else "")
