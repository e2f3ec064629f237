"""What was asked of `terrace demo`: which play is given, and what goes with what. Nothing is started here.

Rules, in order:
1. `--video`, `--task detection` and `--cut-link` are demos of their own; what means nothing with them is refused.
2. Otherwise the story, or with `--loop` once around the loop.
3. What can be known to be missing is said before anything is drawn or started.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

import msgspec

from provisioning.testbed import brought, camera
from provisioning.testbed import data as data_sets
from provisioning.testbed import plan as plans
from provisioning.testbed.demo import Demo
from provisioning.testbed.detection import boards
from provisioning.testbed.detection.play import Detecting
from provisioning.testbed.pulling import Pulling
from provisioning.testbed.screen import Screen
from provisioning.testbed.watching import Watching
from shared.errors import DependencyError, InputError
from shared.vision.tasks.task import CLASSIFICATION


class Play(Protocol):
    """One demo."""

    def play(self, acts: frozenset[int], /) -> None:
        """Prepare, run and count; every daemon is stopped when this returns or raises."""

    def finish(self, folder: Path | None, /, *, keep: bool) -> list[str]:
        """Write the report, remove the state folder unless it is kept, and return the summary's lines."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `terrace demo`."""

    regions: int | None
    edges: int | None
    data: str
    task: str
    report: Path | None
    loop: bool
    act: int | None
    short: bool
    cut_link: bool
    cut_s: float
    video: str | None
    model: Path | None
    expert: Path | None
    credentials: Path | None
    for_s: float | None

    @property
    def chosen_data(self) -> str:
        """The data set."""
        return "line" if self.data == "auto" else self.data

    @property
    def is_detection(self) -> bool:
        """Whether boards are searched for objects."""
        return self.task == boards.TASK

    @property
    def plan(self) -> plans.Plan:
        """Size and pace."""
        base = plans.DETECTION if self.is_detection else plans.CABLE if self.cut_link else self._base()
        return msgspec.structs.replace(base, regions=self.regions or base.regions, edges=self.edges or base.edges)

    def check(self) -> None:
        """Say early what cannot be.

        Raises:
            DependencyError: mosquitto is not installed.
            InputError: options that do not go together, or something named is not there.
        """
        if self.video is not None:
            self._check_video()
        elif self.model or self.expert or self.credentials or self.for_s:
            raise InputError(
                "--model, --expert, --credentials and --for go with --video.", "Name the video: --video FILE or rtsp://host/path."
            )
        elif self.task != CLASSIFICATION:
            self._check_task()
        if self.cut_link and (self.loop or self.act is not None or self.report is not None):
            raise InputError(
                "--cut-link is a demo of its own: no --loop, --act or --report.", "Leave the others out; --keep keeps the files."
            )
        require_broker()
        data_sets.require(self.chosen_data)
        if (
            self.video is None
            and not self.cut_link
            and not self.is_detection
            and self.plan.is_story
            and self.plan.regions < plans.FEWEST_REGIONS
        ):
            raise InputError("the story needs two regions: what one saw shall help the other.", "Leave --regions out, or add --loop.")

    def play(self, root: Path, screen: Screen) -> Play:
        """Return the demo; nothing has begun.

        Args:
            root: its state folder.
            screen: where it is told.
        """
        if self.video is not None and self.model is not None:
            stream = camera.table(self.video, self.credentials)
            return Watching(root, screen, stream=stream, model=self.model, expert=self.expert, for_s=self.for_s)
        if self.is_detection:
            return Detecting(root, self.plan, screen)
        if self.cut_link:
            return Pulling(root, self.plan, self.chosen_data, screen, cut_s=self.cut_s)
        return Demo(root, self.plan, self.chosen_data, screen)

    def _check_video(self) -> None:
        others = (
            self.loop
            or self.act
            or self.report
            or self.cut_link
            or self.short
            or self.regions
            or self.edges
            or self.data != "auto"
            or self.task != CLASSIFICATION
        )
        if others:
            raise InputError(
                "--video is a demo of its own: one device, one region, your model.", "Leave the others out; --keep keeps the files."
            )
        if self.model is None:
            raise InputError("--video needs --model: which release answers the frames.", brought.REMEDY)
        camera.table(str(self.video), self.credentials)
        brought.check(self.model, self.expert)

    def _check_task(self) -> None:
        if not self.is_detection:
            raise InputError(f"there is no demo of the task {self.task}.", f"Take {CLASSIFICATION} or {boards.TASK}.")
        if self.loop or self.act or self.report or self.cut_link or self.short or self.regions or self.data not in ("auto", boards.DATA):
            raise InputError("--task detection is a demo of its own, on DeepPCB's boards.", "Leave the others out; --keep keeps the files.")
        boards.require()

    def _base(self) -> plans.Plan:
        story, once = (plans.SHORT_STORY, plans.SHORT) if self.short else (plans.STORY, plans.Plan())
        return story if not self.loop or self.act is not None else once


def require_broker() -> None:
    """Say early, before anything is drawn or started, that there is no broker.

    Raises:
        DependencyError: mosquitto is not installed.
    """
    if shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") is None:
        raise DependencyError(
            "the MQTT broker mosquitto is not installed.",
            "Install it with: sudo apt-get install -y mosquitto && sudo systemctl disable --now mosquitto",
        )
