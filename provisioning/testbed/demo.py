"""One demo from its first picture to its report: what is prepared, which play is given, what is written when it is over."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec

from provisioning.testbed import data as data_sets
from provisioning.testbed import footage, measure, seed
from provisioning.testbed import plan as plans
from provisioning.testbed.acts import cascade
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.footage import Footage
from provisioning.testbed.loop import Loop
from provisioning.testbed.report import Report, StoryReport, story_summary, summary
from provisioning.testbed.screen import Screen
from provisioning.testbed.stage import Stage
from provisioning.testbed.story import Story
from shared.errors import InputError


class Demo:
    """Prepares a fleet and plays the loop or the story on it.

    Args:
        root: the state folder.
        plan: sizes and pace.
        data: line, deeppcb, fashion-mnist or a folder.
        screen: where it is told.
    """

    def __init__(self, root: Path, plan: plans.Plan, data: str, screen: Screen) -> None:
        self._root = root
        self._plan = plan
        self._data = data
        self._screen = screen
        self._report: Report = StoryReport() if plan.is_story else Report()

    def play(self, acts: frozenset[int]) -> None:
        """Prepare, run and measure; every daemon is stopped when this returns or raises.

        Args:
            acts: which acts of the story; the loop takes no notice.
        """
        began = time.monotonic()
        models = data_sets.models_for(self._data, self._screen.say)
        self._screen.step("Preparing frames, certificates and configuration")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as beside:
            complete = beside.submit(seed.complete, models, self._data, self._root / "models")
            streams = data_sets.prepare(self._data, self._plan)
            shown = Footage(self._root, streams, models)
            fleet = Fleet(self._root, self._plan, self._root / "models", shown.tables if self._plan.is_story else streams.tables)
            fleet.prepare()
            complete.result()
        fleet.initialise_cloud()
        self._report.devices = len(self._plan.devices)
        stage = Stage(fleet, self._screen, began=began, report=self._report)
        if self._plan.is_story:
            shown.lay_out()
            Story(stage, shown, acts=acts).run()
        else:
            self._loop(stage, streams, models)

    def _loop(self, stage: Stage, streams: data_sets.Streams, models: Path) -> None:
        loop = Loop(stage)
        result, window = loop.run(), loop.window
        measure.fill(
            result,
            start=window.start,
            end=window.end,
            sent_per_frame=window.bytes_sent / max(1, window.frames),
            events=[stage.fleet.events(device) for device in self._plan.devices],
            data=streams.truth,
            models=models,
        )
        measure.fill_release(result, self._root / "cloud", result.released_student, result.rounds)

    def finish(self, folder: Path | None, *, keep: bool) -> list[str]:
        """Write the report, remove the state folder unless it is kept, and return the summary's lines."""
        notes = [plans.SMALL_FLEET_NOTE]
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "report.json").write_text(json.dumps(msgspec.to_builtins(self._report), indent=1) + "\n", encoding="utf-8")
            notes.append(f"written: {folder / 'report.json'}")
        if keep:
            notes.append(f"kept: {self._root}")
        else:
            shutil.rmtree(self._root, ignore_errors=True)
        if isinstance(self._report, StoryReport):
            return story_summary(self._report, data=self._data, notes=notes)
        return summary(self._report, data=self._data, notes=notes)


def recounted(root: Path, act: int | None) -> list[str]:
    """Count a kept story again, from its files.

    Args:
        root: the state folder.
        act: only this act; by default every one that is counted from files.

    Raises:
        InputError: no story was played there.
    """
    notes = footage.read_notes(root)
    if act not in (None, cascade.NUMBER):
        raise InputError(f"act {act} is counted again by the commands it prints.", "Type them, with T set to the state folder.")
    return cascade.measure(notes).lines()
