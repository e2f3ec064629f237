"""One demo from its first picture to its report: what is prepared, which play is given, what is written when it is over."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from provisioning.testbed import commands, footage, learning, measure, page
from provisioning.testbed import data as data_sets
from provisioning.testbed import plan as plans
from provisioning.testbed.acts import cascade, federation
from provisioning.testbed.acts import ledger as ledger_act
from provisioning.testbed.figures import FederationFigures, Figures, learned_lines
from provisioning.testbed.loop import Loop
from provisioning.testbed.preparation import prepare
from provisioning.testbed.report import Report, StoryReport, story_summary, summary
from provisioning.testbed.screen import Screen
from provisioning.testbed.stage import Stage
from provisioning.testbed.story import ACTS, Story
from shared.errors import InputError
from shared.release.modelcache import cache


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
        self._stage: Stage | None = None
        self._told: dict[int, Figures] = {}
        self._report: Report = StoryReport() if plan.is_story else Report()

    def play(self, acts: frozenset[int]) -> None:
        """Prepare, run and measure; every daemon is stopped when this returns or raises.

        Args:
            acts: which acts of the story; the loop takes no notice.
        """
        began = time.monotonic()
        with _temporary(self._root / "tmp"):
            self._play(acts, began)

    def _play(self, acts: frozenset[int], began: float) -> None:
        prepared = prepare(self._root, self._plan, self._data, self._screen, began=began, report=self._report)
        stage = prepared.stage
        if self._plan.is_story:
            self._stage = stage
            self._told = Story(stage, prepared.footage, acts=acts).run()
            if isinstance(found := self._told.get(federation.NUMBER), FederationFigures):
                measure.fill_release(self._report, self._root / "cloud", self._report.released_student, found.round)
        else:
            self._loop(stage, prepared.streams, prepared.models)

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
        report = self._report
        lines = story_summary(report, data=self._data) if isinstance(report, StoryReport) else summary(report, data=self._data)
        if folder is not None:
            lines = [*lines, f"written: {self._write(folder, lines)}"]
        if keep:
            return [*lines, f"kept: {self._root}"]
        shutil.rmtree(self._root, ignore_errors=True)
        return lines

    def _write(self, folder: Path, lines: list[str]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        keys = msgspec.to_builtins(self._report)
        (folder / "report.json").write_text(json.dumps(keys, indent=1) + "\n", encoding="utf-8")
        if self._stage is None:
            return folder / "report.json"
        regions = {region: self._plan.edge_names(region) for region in self._plan.region_names}
        os.environ.setdefault("MPLCONFIGDIR", str(cache() / "matplotlib"))  # its fonts' index, not in the home folder
        from provisioning.testbed import plots  # matplotlib takes a second to import, for this page alone

        drawn = plots.draw(self._told, plots.Scene(self._stage.moments, self._stage.marks, regions), folder)
        chapters = [
            page.Chapter(
                number=act.NUMBER,
                title=act.TITLE,
                claim=act.CLAIM,
                lines=self._told[act.NUMBER].lines(),
                commands=commands.of(act.NUMBER, self._plan),
                picture=drawn[act.NUMBER].name,
            )
            for act in ACTS
            if act.NUMBER in self._told
        ]
        (folder / "report.html").write_text(page.page(chapters, summary=lines, figures=keys), encoding="utf-8")
        return folder / "report.html"


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Let what we and our children leave lying about lie in the state folder."""
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    try:
        yield
    finally:
        tempfile.tempdir = None
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def recounted(root: Path, act: int | None) -> list[str]:
    """Count a kept story again, from its files.

    Args:
        root: the state folder.
        act: only this act; by default every one that is counted from files.

    Raises:
        InputError: no story was played there.
    """
    notes = footage.read_notes(root)
    lines: list[str] = []
    if act in (None, cascade.NUMBER) and cascade.WINDOW in notes.windows:
        lines += cascade.measure(notes).lines()
    if act in (None, federation.NUMBER) and notes.question is not None:
        lines += learned_lines(learning.answer(notes.question))
    if act in (None, ledger_act.NUMBER):
        lines.append(f"{sum(map(ledger_act.answered, map(Path, notes.events))):,} frames answered")
    if not lines:
        raise InputError(f"nothing of act {act} can be counted again here.", "Type the commands the act has printed.")
    return lines
