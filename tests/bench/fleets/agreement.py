"""How often the test on large losses is wrong, and how many samples it takes: `python -m tests.bench.fleets.agreement` (two minutes).

Simulated devices whose old release agrees with the expert on 93 % of frames; the new one loses so many points. The test is looked at
after every fourth sample until it decides, at most 400 samples of the new release.
"""

from __future__ import annotations

import numpy as np

from cloud.agreement import Rule, evidence

AGREEMENT, RUNS, EVERY, MOST = 0.93, 100, 4, 400
NEVER = 10**6
Ends = list[tuple[str, int]]


def watch(loss: float, rule: Rule, *, before: int, runs: int = RUNS, seed: int = 5) -> Ends:
    """Return how each simulated release ended, `worse`, `sound` or `open`, and after how many samples of it."""
    random = np.random.default_rng(seed)
    ends: Ends = []
    for _ in range(runs):
        agreed = random.binomial(before, AGREEMENT)
        counts = np.array([[agreed, before - agreed, 0, 0]], np.float64)
        end, seen = "open", 0
        while end == "open" and seen < MOST:
            right = random.binomial(EVERY, AGREEMENT - loss)
            counts += (0, 0, right, EVERY - right)
            seen += EVERY
            if evidence(counts, rule.tolerated, worse=True) >= -np.log(rule.false_stop):
                end = "worse"
            elif rule.excluded < 1 and evidence(counts, rule.excluded, worse=False) >= -np.log(rule.missed):
                end = "sound"
        ends.append((end, seen))
    return ends


def line(loss: float, rule: Rule, before: int) -> str:
    """Return one row of the table."""
    ends = watch(loss, rule, before=before)
    right = "sound" if loss <= rule.tolerated else "worse"
    took = sorted(seen if end == right else NEVER for end, seen in ends)
    shown = ["never" if took[int(share * RUNS)] == NEVER else str(took[int(share * RUNS)]) for share in (0.5, 0.9, 0.95)]
    shares = ", ".join(f"{kind} {sum(end == kind for end, _ in ends)} %" for kind in ("worse", "sound", "open"))
    return f"| {before} | {loss * 100:.0f} | {rule.excluded * 100:.0f} | {shares} | {' | '.join(shown)} |"


def main() -> None:
    """Print the table of the decision."""
    print("| samples before | loss, points | must rule out | ends | median | 90 % | 95 % |\n|---|---|---|---|---|---|---|")
    for before in (100, 400):
        for loss, excluded in ((0.3, 0.15), (0.2, 0.15), (0.1, 0.15), (0.0, 0.15), (0.0, 0.3)):
            print(line(loss, Rule(excluded=excluded), before), flush=True)
    edge = watch(Rule().tolerated, Rule(excluded=1.0), before=200, runs=200)
    print(f"false stops at the very edge of what is tolerated: {sum(end == 'worse' for end, _ in edge)} of {len(edge)}")
    missed = watch(Rule().excluded, Rule(), before=200, runs=200)
    print(f"called sound at the very edge of what is excluded: {sum(end == 'sound' for end, _ in missed)} of {len(missed)}")


if __name__ == "__main__":
    main()
