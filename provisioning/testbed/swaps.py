"""A new release on its way over the fleet: from the first device that fetches it to the last that has committed it."""

from __future__ import annotations

from collections.abc import Callable

from provisioning.testbed import ledger, timeline
from provisioning.testbed.stage import Stage

WINDOW_S = 3.0
DEADLINE_S = 150.0


def swap(stage: Stage, *, after: int, act: Callable[[Stage], object] = lambda _: None) -> int:
    """Wait until every device has committed a newer release, and count the frames dropped by the change.

    Args:
        stage: the fleet.
        after: the release before.
        act: called at each look, for what an operator would do meanwhile.

    Returns:
        The new release.
    """

    def everywhere() -> bool:
        act(stage)
        return all(stage.committed(device) > after for device in stage.devices)

    report = stage.report
    stage.screen.step("Devices fetch the release, verify it, test it while the old one serves, and swap between two frames")
    stage.until(everywhere, DEADLINE_S, "every device to commit")
    report.devices_committed = sum(stage.committed(device) > after for device in stage.devices)
    report.released_student = max(stage.committed(device) for device in stage.devices)
    stage.pause(WINDOW_S)
    report.drops_beyond_steady_rate_in_swap = sum(_drops(stage, device) for device in stage.devices)
    return report.released_student


def _drops(stage: Stage, device: str) -> float:
    samples = timeline.rates(stage.moments, device)
    swaps = [float(one["at"]) for one in stage.fleet.status(device).get("swaps", []) if one.get("from")]
    return sum(ledger.drops_beyond_steady_rate(samples, at, window_s=WINDOW_S) for at in swaps)
