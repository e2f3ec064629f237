"""What the demo shows: one live screen (Rich) or plain lines, the same words in both."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

WIDTH = 76
"""Characters of a line of the story: it fits a terminal of 80 columns."""


class Screen:
    """Announce steps and show the fleet.

    Args:
        plain: print lines only, also the default where standard output is no terminal.
    """

    def __init__(self, *, plain: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._live = None if plain or not sys.stdout.isatty() else Live(console=self._console, refresh_per_second=4, transient=True)
        self._step, self._note = "", ""
        self._rows: list[Sequence[str]] = []

    def __enter__(self) -> Screen:
        """Begin to draw."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._live.stop()

    def step(self, words: str) -> None:
        """Announce what happens now."""
        self._step = words
        for number, line in enumerate(folded(words)):
            self._console.print((("[bold]▸[/] " if self._live else "> ") if not number else "  ") + line)
        self._draw()

    def say(self, words: str) -> None:
        """Print words that stay."""
        for line in folded(words):
            self._console.print(f"  {line}", markup=False)

    @property
    def is_live(self) -> bool:
        """Whether there is a screen that is drawn again and again."""
        return self._live is not None

    def note(self, words: str) -> None:
        """Show a line below the fleet's rows, in place of the one before; printed where there is no live screen."""
        self._note = words
        if self._live:
            self._draw()
        else:
            self.say(words)

    def act(self, number: int, title: str, claim: str) -> None:
        """Announce an act and what it claims."""
        self.step(f"Act {number} · {title}")
        self.say(claim)

    def found(self, lines: Sequence[str], commands: Sequence[str]) -> None:
        """Show what an act measured, and the commands that count it again."""
        for line in (*lines, *(f"$ {command}" for command in commands)):
            is_command = line.startswith("$ ")  # one to copy is never broken
            for part in [line] if is_command else folded(line, WIDTH - 2):
                style = ("dim" if is_command else "bold") if self._live else ""
                self._console.print(f"  {part}" if is_command else f"    {part}", markup=False, style=style)

    def fleet(self, statuses: Mapping[str, Mapping[str, Any]]) -> None:
        """Show a row per daemon from their status sockets."""
        self._rows = [row(name, status) for name, status in statuses.items()]
        self._draw()

    def _draw(self) -> None:
        if not self._live:
            return
        table = Table(expand=True, box=None, padding=(0, 1, 0, 0))
        for title in ("daemon", "rel", "frames", "kept", "deferred", "audited", "drop", "spool", "link"):
            table.add_column(title, justify="left" if title in ("daemon", "link") else "right", no_wrap=True)
        for cells in self._rows:
            table.add_row(*cells)
        shown: list[RenderableType] = [Text(self._step, style="bold"), table, *([Text(self._note, style="cyan")] if self._note else [])]
        self._live.update(Panel(Group(*shown), title="terrace demo", border_style="cyan"))


def folded(words: str, width: int = WIDTH) -> list[str]:
    """Return words in lines of at most `width`; what has no space, such as a link, is never broken."""
    return textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)


def row(name: str, status: Mapping[str, Any]) -> list[str]:
    """Return the cells of one daemon; a region shows its cases in place of frames, the cloud its last round."""
    if "streams" in status:
        counts = [
            sum(stream.get(key, 0) for stream in status["streams"].values()) for key in ("frames", "kept", "deferred", "audited", "dropped")
        ]
        link = "up" if status.get("link", {}).get("connected") else "down"
        release = status.get("update", {}).get("release", 0)
        return [name, f"{release}", *(f"{count}" for count in counts), f"{status.get('spool', {}).get('cases', 0)}", link]
    if "cases_stored" in status:
        return [
            name,
            f"{status.get('expert_release') or '-'}",
            "",
            "",
            f"{status['cases_stored']} stored",
            f"{status.get('cases_answered', 0)} answered",
            "",
            "",
            "",
        ]
    rounds = status.get("rounds") or [{}]
    words = f"round {rounds[0]['number']}: {rounds[0]['state']}" if rounds[0] else "no round yet" if status else "starting"
    return [name, "", "", "", words, "", "", "", ""]
