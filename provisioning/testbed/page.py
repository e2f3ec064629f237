"""report.html: one page of what the story showed, to read and to send. No script, no external request. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import msgspec

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p.claim { font-style: italic; } img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
pre { overflow-x: auto; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: 4px; font-size: 13px; }
table { border-collapse: collapse; font-size: 13px; } td { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
"""


class Chapter(msgspec.Struct, frozen=True, kw_only=True):
    """One act on the page: lines as the screen showed them, the commands that count again, the plot's file name."""

    number: int
    title: str
    claim: str
    lines: Sequence[str]
    commands: Sequence[str]
    picture: str


def page(chapters: Sequence[Chapter], *, summary: Sequence[str], figures: Mapping[str, object]) -> str:
    """Return the page.

    Args:
        chapters: the acts that were played.
        summary: what stands at the top, a line each.
        figures: the keys of report.json.
    """
    items = "".join(f"<li>{escape(line)}</li>" for line in summary)
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(_value(value))}</td></tr>" for key, value in figures.items())
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>terrace demo</title><style>{STYLE}</style></head><body>\n<h1>terrace: the story</h1>\n<ul>{items}</ul>\n"
        + "\n".join(_chapter(chapter) for chapter in chapters)
        + f"\n<h2>All keys of report.json</h2>\n<table>{rows}</table>\n</body></html>\n"
    )


def _chapter(chapter: Chapter) -> str:
    said = escape("\n".join(chapter.lines))
    commands = escape("\n".join(f"$ {command}" for command in chapter.commands))
    title = escape(f"Act {chapter.number} · {chapter.title}")
    return (
        f"<h2>{title}</h2>\n<p class='claim'>{escape(chapter.claim)}</p>\n<pre>{said}</pre>\n"
        f"<img src='{escape(chapter.picture)}' alt='{title}'>\n<pre>{commands}</pre>"
    )


def _value(value: object) -> str:
    if value is None:
        return "not played"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}" if isinstance(value, float) else str(value)
