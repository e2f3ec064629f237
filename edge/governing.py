"""The governor's thread: reads the vital signs every few seconds, asks `governor` for the step, sets it. Off where nothing is to be read.

It decides nothing itself. With `mode = "auto"` it governs only where the machine tells of heat, throttling or a power mode; a machine
that does not (a virtual one) runs as before. A defect in it stops the governing and no answer: the last step stays, and it says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

from edge.governor import STEPS, Reading, State, after
from edge.throttle import Throttle
from edge.vitals import Vitals
from shared import clock, log

STEPPED, BROKEN = "governor_stepped", "governor_broken"
PERIOD_S = 2.0
Mode = Literal["auto", "on", "off"]


class Governor:
    """Governs one device.

    Args:
        mode: `auto`, `on` or `off`.
        vitals: reads the machine.
        throttle: what is set.
        counted: gives the frames delivered so far and those of them that newer ones replaced; None while no model answers.
        period_s: seconds between readings.
    """

    def __init__(
        self,
        *,
        mode: Mode,
        vitals: Vitals,
        throttle: Throttle,
        counted: Callable[[], tuple[int, int] | None],
        period_s: float = PERIOD_S,
    ) -> None:
        self._mode = mode
        self._vitals = vitals
        self._throttle = throttle
        self._counted = counted
        self._period_s = period_s
        self._before: tuple[int, int] | None = None
        self._state = State()
        self._reading = Reading()
        self._is_on = False
        self._broken = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="governor", daemon=True)

    def start(self) -> None:
        """Begin, where there is something to go by."""
        self._reading = self._vitals.reading()
        self._is_on = self._mode == "on" or (self._mode == "auto" and not self._reading.is_empty)
        if self._is_on:
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def step(self) -> None:
        """Read, decide, set."""
        self._reading = self._vitals.reading(self._lag())
        before, self._state = self._state, after(self._state, self._reading, clock.monotonic())
        if self._state.step != before.step:
            self._throttle.step = STEPS[self._state.step]
            log.get("governor").warning(STEPPED, step=self._state.step, before=before.step, reason=self._state.reason)

    def status(self) -> dict[str, Any]:
        """Return what `terrace edge status` shows of it; figures that cannot be read are left out."""
        reading, state, step = self._reading, self._state, STEPS[self._state.step]
        figures = {"headroom_c": reading.headroom_c, "memory_free": reading.memory_free, "lag": reading.lag}
        return {
            "on": self._is_on,
            "step": state.step,
            "rate": step.rate,
            "shrink": step.shrink,
            "reason": self._broken or state.reason,
            "power_mode": reading.power_mode,
            "throttled": reading.throttled,
            "lowered": state.lowered,
            "raised": state.raised,
            **{name: round(value, 3) for name, value in figures.items() if value is not None},
        }

    def _run(self) -> None:
        while not self._stopping.wait(self._period_s):
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - a defect here must not go on unseen, and must not stop an answer
                log.get("governor").exception(BROKEN, error=str(error))
                self._is_on, self._broken = False, f"a defect in the governor: {error}"
                return

    def _lag(self) -> float | None:
        now, before = self._counted(), self._before
        self._before = now
        if now is None or before is None or now[0] <= before[0]:
            return None
        return min(1.0, max(0.0, (now[1] - before[1]) / (now[0] - before[0])))
