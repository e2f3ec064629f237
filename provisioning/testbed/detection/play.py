"""`terrace demo --task detection`: whole boards on two devices, doubtful parts at the expert, a cut link, another release, the ledger.

The steps in `play` read as the demo. Federated rounds know classifiers only: none is made here, and the cloud is asked for one to show
what it says. Figures on boards are those of the steady window; cases are counted again from the files.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from provisioning.testbed import commands, released
from provisioning.testbed import plan as plans
from provisioning.testbed.acts import never_lost
from provisioning.testbed.detection import boards, expert, told
from provisioning.testbed.detection.cautious import cautious
from provisioning.testbed.doors import links
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.notes import Window
from provisioning.testbed.processes import run_command
from provisioning.testbed.recount import recount
from provisioning.testbed.report import Report
from provisioning.testbed.rollouts import TAKEN_BACK, newest_rollout, promote_when_asked
from provisioning.testbed.screen import Screen
from provisioning.testbed.stage import Stage
from shared.release.card import decode_card, encode_card

REFUSED_S, RELEASED_S = 60.0, 240.0


class Detecting:
    """A demo of a detector.

    Args:
        root: the state folder.
        plan: sizes and pace; with a wire.
        screen: where it is told.
    """

    def __init__(self, root: Path, plan: plans.Plan, screen: Screen) -> None:
        self._root = root
        self._plan = plan
        self._screen = screen
        self._models = boards.models()
        self._lines: list[str] = []

    def play(self, _: frozenset[int]) -> None:
        """Prepare, run and count; every daemon is stopped when this returns or raises."""
        began = time.monotonic()
        self._screen.step("Preparing boards, certificates and configuration")
        tables = boards.lay_out(self._plan)
        fleet = Fleet(self._root, self._plan, self._models, tables)
        fleet.prepare()
        fleet.initialise_cloud()
        stage = Stage(fleet, self._screen, began=began, report=Report())
        try:
            stage.open()
            self._invite(stage)
            window, cases = self._stream(stage)
            self._tell("Never lost", never_lost.CLAIM, never_lost.play(stage, None).lines())
            self._tell(
                "Another release", "The same detector with a higher deferral threshold, signed by the approver.", self._release(stage)
            )
            self._tell("A round", "Federated rounds know classifiers only; the cloud is asked for one.", [self._round(stage)])
        finally:
            stage.close()
        self._screen.step("Judging what was told of the boards; the expert is run on each of them")
        paths = {str(table["name"]): Path(str(table["path"])) for device in tables.values() for table in device}
        self._tell(
            "Boards", f"Boards of the official test list, streamed for {window.end - window.start:.0f} s.", self._judged(window, paths)
        )
        self._tell(
            "Bytes",
            "Of a hard case the part in doubt is sent, or the whole where doubt is everywhere; audit samples are whole.",
            cases + self._weights(window, paths),
        )
        self._tell("Ledger", "Everything is stopped and counted again from the files alone.", self._counted(fleet))

    def finish(self, _: Path | None, *, keep: bool) -> list[str]:
        """Return the summary and the commands that count it again; remove the state folder unless it is kept."""
        typed = [f"$ {command}" for command in commands.of_cases(self._plan, self._plan.region_names[0])]
        if keep:
            return [*self._lines, "count again (T is the state folder):", f"$ T={self._root}", *typed]
        shutil.rmtree(self._root, ignore_errors=True)
        return [*self._lines, "counted by these commands (with --keep, T stays and you can type them):", *typed]

    def _tell(self, title: str, claim: str, lines: list[str]) -> None:
        self._screen.step(title)
        self._screen.say(claim)
        self._screen.found(lines, [])
        self._lines += lines

    def _invite(self, stage: Stage) -> None:
        for name, link in links(stage.fleet).items():
            self._screen.say(f"{name}: {link}")
        self._screen.say("the second link shows each case with the boxes of student and expert; each makes its first admin, once")

    def _stream(self, stage: Stage) -> tuple[Window, list[str]]:
        """Stream steadily; return the window, and what cases weighed."""
        self._screen.step(f"Streaming steadily for {self._plan.steady_s:.0f} s: most boards are answered on the device")
        window = stage.stream(self._plan.steady_s)
        budgets = [stage.fleet.status(device).get("budget", {}) for device in stage.devices]
        streams = [stream for device in stage.devices for stream in stage.fleet.status(device).get("streams", {}).values()]
        lines = []
        for kind, key, words in (
            ("hard", "deferred", "a hard case (the part in doubt, where it is a small one)"),
            ("audit", "audited", "an audit sample (whole)"),
        ):
            count = sum(int(stream.get(key, 0)) for stream in streams)
            if count:
                lines.append(f"{words} weighs {sum(int(one.get(f'{kind}_bytes', 0)) for one in budgets) / count:,.0f} bytes")
        return window, lines

    def _release(self, stage: Stage) -> list[str]:
        """Sign a release with a higher threshold, roll it out, and say what became of it."""
        running = max(stage.committed(device) for device in stage.devices)
        files = released.student(self._root / "cloud", running)
        card = cautious(decode_card(Path(files.card).read_bytes()))
        if card is None:
            return ["the card has no curve with room for it: no second release"]
        made = self._root / "cautious.card.json"
        made.write_bytes(encode_card(card))
        config = ["--config", str(stage.fleet.config("cloud"))]
        run_command(["cloud", "release", "add", "--onnx", files.model, "--card", str(made), *config])
        if newest_rollout(stage).get("release") != card.release:
            run_command(["cloud", "rollout", "start", str(card.release), *config])
        stage.mark("signed")

        def is_settled() -> bool:
            promote_when_asked(stage)
            return newest_rollout(stage).get("state") in TAKEN_BACK or all(
                stage.committed(device) == card.release for device in stage.devices
            )

        stage.until(is_settled, RELEASED_S, f"release {card.release} to be committed or taken back")
        found = newest_rollout(stage)
        if found.get("state") in TAKEN_BACK:
            return [f"release {card.release} was taken back: {found.get('reason', '')}"]
        swaps = [one for device in stage.devices for one in stage.fleet.status(device).get("swaps", []) if one.get("from")]
        worst = max((float(one["gap_ms"]) for one in swaps), default=0.0)
        return [f"release {card.release} committed on {len(stage.devices)} devices; between two boards, {worst:.0f} ms at most"]

    def _round(self, stage: Stage) -> str:
        """Ask for a federated round, and return what the cloud says of it."""
        number = stage.fleet.start_round()

        def ended() -> str:
            rounds = stage.fleet.status("cloud").get("rounds", [])
            return next((str(one.get("reason", "")) for one in rounds if one["number"] == number and one["state"] == "failed"), "")

        stage.until(ended, REFUSED_S, "the cloud to refuse a round")
        return f"round {number}: {ended()}"

    def _judged(self, window: Window, paths: dict[str, Path]) -> list[str]:
        events = [event for device in self._plan.devices for event in told.parse((self._root / device / "events.jsonl").read_bytes())]
        labels = decode_card((self._models / "student" / "000001.card.json").read_bytes()).labels
        seen = told.boards(events, start=window.start, end=window.end)
        streams = {name: boards.read(path) for name, path in paths.items()}
        return told.judge(seen, streams, expert.told(self._models, paths), labels).lines()

    def _weights(self, window: Window, paths: dict[str, Path]) -> list[str]:
        whole = expert.whole_bytes(self._models, paths)
        sent = window.bytes_sent / max(1, window.frames)
        return [f"bytes per board: {sent:,.0f} sent (all MQTT payload), every board whole {whole:,.0f} in the same codec"]

    def _counted(self, fleet: Fleet) -> list[str]:
        counted = recount(fleet)
        cases = counted.cases
        return [
            f"{cases.spooled:,} cases spooled = {cases.stored:,} in the vault, {cases.waiting} still waiting, {cases.evicted} evicted",
            f"recounted from the files: lost {cases.lost}, doubled {counted.doubled}",
            f"pictures that left the region: {counted.pictures}",
        ]
