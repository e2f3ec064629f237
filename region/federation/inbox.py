"""The region's loop: ask the cloud for tasks by long poll, do them one at a time, send the outcome.

Rules, in order:
1. The region dials; nothing listens here.
2. A task is done again after a kill: the outcome is a file beside the task until the cloud has taken it, so a killed worker sends
   what it had, and the cloud counts a reply once.
3. A task that cannot be done is answered with why; only a lost connection is tried again, after a growing pause with jitter.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from region.federation import client
from shared import durable, log
from shared.errors import LinkError, TerraceError
from shared.link.https import HttpsClient
from shared.wire.reports import (
    AnyTask,
    EvaluateTask,
    EvaluationReply,
    TaskFailed,
    TrainReply,
    TrainTask,
    UpReport,
    decode_inbox,
    encode_report,
)

TASK, DONE, REFUSED, UNREACHABLE = "task_received", "task_answered", "reply_refused", "cloud_unreachable"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
WAIT_S = 20.0
Evaluate = Callable[[EvaluateTask, Path], EvaluationReply]


class Inbox:
    """Asks, does, answers.

    Args:
        https: to the cloud, with this region's identity.
        folder: where tasks and outcomes lie until the cloud has them.
        train: does a training (see client.Train).
        evaluate: does an evaluation, given the task and the folder its blobs are in.
        pause: waits for so many seconds; False when the process is to stop.
    """

    def __init__(
        self, https: HttpsClient, folder: Path, *, train: client.Train, evaluate: Evaluate, pause: Callable[[float], bool]
    ) -> None:
        self._https = https
        self._folder = folder
        self._app = client.client_app(train)
        self._evaluate = evaluate
        self._pause = pause
        self._logger = log.get("federation")

    def run(self) -> None:
        """Work until the process is to stop."""
        pause_s = FIRST_PAUSE_S
        while self._pause(0.0):
            try:
                self.once(wait_s=WAIT_S)
                pause_s = FIRST_PAUSE_S
            except LinkError as error:
                self._logger.warning(UNREACHABLE, error=error.message, again_in_s=pause_s)
                self._pause(random.uniform(0, pause_s))  # noqa: S311 - jitter, no secret
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def once(self, *, wait_s: float) -> int:
        """Ask once and do what there is; returns how many tasks were answered.

        Raises:
            LinkError: the cloud cannot be reached.
        """
        response = self._https.get(f"/v1/federation/inbox?wait={wait_s:g}", timeout_s=wait_s + 10.0, limit_bytes=1 << 20)
        if response.status != 200:
            raise LinkError(f"the cloud answered {response.status} to a poll.", "Look into the cloud's log.")
        tasks = decode_inbox(response.body).tasks
        for task in tasks:
            self._do(task)
        return len(tasks)

    def _do(self, task: AnyTask) -> None:
        folder = self._folder / hashlib.sha256(task.task.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._logger.info(TASK, task=task.task)
        try:
            reply: UpReport = self._train(task, folder) if isinstance(task, TrainTask) else self._evaluate_in(task, folder)
        except LinkError:
            raise
        except TerraceError as error:
            reply = TaskFailed(task=task.task, reason=str(error)[:1000])
        self._send(task, reply)
        _remove(folder)

    def _train(self, task: TrainTask, folder: Path) -> UpReport:
        update = folder / "update.bundle"
        if not update.exists():
            given = self._fetch(task.blob, task.size, folder)
            durable.write(update, client.answer(self._app, given.read_bytes(), run=task.round), mode=0o600)
        data = update.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        self._https.upload(f"/v1/blobs/{name}", update)
        return TrainReply(task=task.task, blob=name, size=len(data))

    def _evaluate_in(self, task: EvaluateTask, folder: Path) -> UpReport:
        for name, size in task.blobs():
            self._fetch(name, size, folder)
        return self._evaluate(task, folder)

    def _fetch(self, name: str, size: int, folder: Path) -> Path:
        destination = folder / name
        if not destination.exists():
            self._https.download(f"/v1/blobs/{name}", destination, size=size, sha256=name)
        return destination

    def _send(self, task: AnyTask, reply: UpReport) -> None:
        response = self._https.post("/v1/federation/replies", encode_report(reply), "application/json")
        if response.status >= 500:
            raise LinkError(f"the cloud answered {response.status} to a reply.", "It is sent again.")
        if response.status >= 400:
            self._logger.error(REFUSED, task=task.task, status=response.status, said=response.body[:300].decode(errors="replace"))
        else:
            self._logger.info(DONE, task=task.task, kind=type(reply).__name__)


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
