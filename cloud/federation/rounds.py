"""A round as a table of steps: each is a row in the registry, done once, resumed where a killed worker left it.

    train      choose who takes part, post the tasks, wait for the updates (quorum, deadline)
    aggregate  check and add up the updates; checkpoint
    distil     the cloud's own teaching on the seed set; a student that forgot too much is taken back half-way
    quantise   INT8, calibrated, exported: the candidate and its card
    evaluate   regions count how candidate and current student do on their held-out cases
    gate       pooled counts and seed set: may it be published
    publish    into the release repository, signed by a process of its own, with deltas
    rollout    handed over: to a few devices first (cloud.rollouts)

A step may be run again as long as its row is not done, so every step must come to the same when it is begun twice. A refusal by the
gates ends the round as `refused`, an error as `failed` with its reason; both are final, nothing of the round is published. A round that is
not to be published ends after the gate as `trial`, with the gate's word as its reason; its candidate stays in the round's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cloud.records import Round
from cloud.registry import Registry
from shared import log
from shared.clock import Clock
from shared.errors import TerraceError

STEPS = ("train", "aggregate", "distil", "quantise", "evaluate", "gate", "publish", "rollout")
TRIAL_ENDS = "gate"
STEP_DONE, ROUND_ENDED, ROUND_BROKE = "round_step_done", "round_ended", "round_broke"
Result = dict[str, Any]
Results = dict[str, Result]
Step = Callable[[Round, Results], Result]


class Rounds:
    """Runs rounds, one at a time.

    Args:
        registry: where rounds and steps are rows.
        steps: what each step of `STEPS` does; given the round and the results of the steps before.
        close: called when a round has ended, whatever its end; deletes what only the round needed.
        clock: wall time.
    """

    def __init__(self, registry: Registry, steps: Mapping[str, Step], *, close: Callable[[Round], None], clock: Clock) -> None:
        self._registry = registry
        self._steps = steps
        self._close = close
        self._clock = clock
        self._logger = log.get("rounds")

    def run(self, current: Round) -> Round:
        """Take a requested or interrupted round to its end and return it as it ended.

        Raises:
            InterruptedError: the process is to stop; the round goes on at the same step next time.
        """
        self._registry.begin(current.number)
        name = STEPS[0]
        try:
            results: Results = {}
            for name in STEPS:
                results[name] = self._step(current, name, results)
                if name == TRIAL_ENDS and not current.publish:
                    return self._end(current, "trial", str(results[name].get("refused", "")))
                if results[name].get("refused"):
                    return self._end(current, "refused", str(results[name]["refused"]))
        except InterruptedError:
            raise
        except TerraceError as error:
            return self._fail(current, name, str(error))
        except Exception as error:
            self._logger.exception(ROUND_BROKE, round=current.number, step=name)
            return self._fail(current, name, f"a defect in terrace: {type(error).__name__}: {error}")
        return self._end(current, "done", "")

    def _step(self, current: Round, name: str, results: Results) -> Result:
        row = self._registry.begin_step(current.number, name, now=self._clock())
        if row.state == "done":
            return row.result
        result = self._steps[name](current, results)
        self._registry.finish_step(current.number, name, result, now=self._clock())
        self._logger.info(STEP_DONE, round=current.number, step=name)
        return result

    def _fail(self, current: Round, name: str, reason: str) -> Round:
        self._registry.fail_step(current.number, name, reason, now=self._clock())
        return self._end(current, "failed", f"{name}: {reason}")

    def _end(self, current: Round, state: str, reason: str) -> Round:
        self._close(current)
        self._registry.end(current.number, state, reason, now=self._clock())
        self._logger.info(ROUND_ENDED, round=current.number, state=state, reason=reason)
        return self._registry.round(current.number)
