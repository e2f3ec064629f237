"""`terrace demo --video`: a user's own stream and imported model on a real device, region and cloud, until it is ended.

The steps in `play` read as the demo. The picture with what student and expert say of it is on the region's page, and nowhere else.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from provisioning.testbed import brought, camera, commands
from provisioning.testbed import plan as plans
from provisioning.testbed.brought import Brought
from provisioning.testbed.doors import links
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.processes import DaemonFailedError
from provisioning.testbed.recount import Counted, recount
from provisioning.testbed.report import Report
from provisioning.testbed.screen import Screen
from provisioning.testbed.stage import Stage
from provisioning.testbed.watched import Watched, watched

SAY_EVERY_S = 5.0


class Watching:
    """A demo of somebody's own video and model.

    Args:
        root: the state folder.
        screen: where it is told.
        stream: the stream's table, as `camera.table` makes it.
        model: the student's release.
        expert: the expert's release, None for the student's own.
        for_s: seconds until it ends by itself; None waits for Ctrl-C.
    """

    def __init__(
        self, root: Path, screen: Screen, *, stream: dict[str, object], model: Path, expert: Path | None, for_s: float | None
    ) -> None:
        self._root = root
        self._screen = screen
        self._stream = stream
        self._model, self._expert = model, expert
        self._for_s = for_s
        self._plan = plans.WATCH
        self._seen = Watched()
        self._counted: Counted | None = None

    def play(self, _: frozenset[int]) -> None:
        """Prepare, run until the end, count; every daemon is stopped when this returns or raises.

        Raises:
            TerraceError: a release cannot be used, or a daemon failed.
        """
        began = time.monotonic()
        self._screen.step("Preparing certificates, configuration and the first release from your model")
        given = brought.lay_out(self._model, self._expert, self._root / "models")
        device = self._plan.devices[0]
        fleet = Fleet(self._root, self._plan, given.folder, {device: [self._stream]})
        fleet.prepare()
        fleet.initialise_cloud()
        stage = Stage(fleet, self._screen, began=began, report=Report())
        try:
            self._open(stage, device)
            self._welcome(stage, given)
            self._watch(stage, device)
        finally:
            stage.close()
        self._seen = watched(fleet.events(device).read_bytes())
        self._counted = recount(fleet)

    def finish(self, _: Path | None, *, keep: bool) -> list[str]:
        """Return what it came to and the commands that count it again; remove the state folder unless it is kept."""
        found = [*self._seen.lines(), *self._case_lines()]
        typed = [f"$ {command}" for command in commands.of_cases(self._plan, self._plan.region_names[0])]
        if keep:
            return [*found, "count again (T is the state folder):", f"$ T={self._root}", *typed]
        shutil.rmtree(self._root, ignore_errors=True)
        return [*found, "counted by these commands (with --keep, T stays and you can type them):", *typed]

    def _case_lines(self) -> list[str]:
        if self._counted is None:
            return []
        cases = self._counted.cases
        return [
            f"{cases.spooled:,} cases spooled = {cases.stored:,} in the vault, {cases.waiting} still waiting, {cases.evicted} evicted",
            f"recounted from the files: lost {cases.lost}, doubled {self._counted.doubled}",
            f"pictures that left the region: {self._counted.pictures}",
        ]

    def _open(self, stage: Stage, device: str) -> None:
        """Start everything; a stream that does not come is told in its own words.

        Raises:
            DaemonFailedError: no frame was answered in time.
        """
        try:
            stage.begin()
        except DaemonFailedError as error:
            stream = stage.fleet.status(device).get("streams", {}).get(camera.NAME, {})
            if not stream.get("reason"):
                raise
            raise DaemonFailedError(f"no frame came from the video: {stream['reason']}", error.remedy, code=error.exit_code) from None

    def _welcome(self, stage: Stage, given: Brought) -> None:
        say = self._screen.say
        say(f"{given.student.task}: {', '.join(given.student.labels)}"[:300])
        if given.student.calibration is None:
            say("the card has no threshold: the device answers everything itself and sends audit samples only")
        if given.expert is None:
            say("the release has no expert and none was given (--expert): cases are kept in the region, nobody answers them")
        for name, link in links(stage.fleet).items():
            say(f"{name}: {link}")
        say("the first link shows figures, the second the pictures with what student and expert say of them, on that page only")
        say("each link makes its first admin, once; the browser warns, as the certificate is the demo's own")
        self._screen.step(
            "Watching your stream; Ctrl-C ends it" if self._for_s is None else f"Watching your stream for {self._for_s:.0f} s"
        )

    def _watch(self, stage: Stage, device: str) -> None:
        ends = time.monotonic() + (float("inf") if self._for_s is None else self._for_s)
        said = float("-inf")
        try:
            while time.monotonic() < ends:
                stage.tick()
                if self._screen.is_live or time.monotonic() - said >= SAY_EVERY_S:
                    said = time.monotonic()
                    self._screen.note(self._words(stage, device))
        except KeyboardInterrupt:
            self._screen.say("ended by Ctrl-C")

    def _words(self, stage: Stage, device: str) -> str:
        stream = stage.fleet.status(device).get("streams", {}).get(camera.NAME, {})
        region = stage.region(self._plan.region_names[0])
        said = [
            f"{stage.device(device).inferred:,} frames answered",
            f"{region.stored:,} cases at the region, {region.answered:,} answered",
        ]
        if stream.get("state") == "failed":
            said.append(str(stream["reason"]))
        return " · ".join(said)
