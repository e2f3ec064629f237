"""The pages under docs/ say what the code says: generated parts are equal, names that are named exist, examples parse."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import msgspec
import pytest
import typer
from typer.main import get_command

from cloud.config import Settings
from edge.config import EdgeSettings
from region.config import RegionSettings
from shared import errors
from shared.config import parse
from tests.docs import configuration, diagrams

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SETTINGS: dict[str, type[msgspec.Struct]] = {"cloud.toml": Settings, "edge.toml": EdgeSettings, "region.toml": RegionSettings}
GROUP = "terrace.commands"
REGISTERED = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["entry-points"][GROUP]
TIERS = {name: EntryPoint(name, value, GROUP).load() for name, value in REGISTERED.items()}
"""Every command that this checkout registers: one that is added is looked for in the docs without a word here."""


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_configuration_page_is_the_generated_one() -> None:
    assert text_of("configuration.md") == configuration.page(), "run: python -m tests.docs.configuration"


def test_every_error_class_stands_in_the_table_of_exit_codes() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TerraceError)]
    listed = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text_of("operations.md"), re.MULTILINE)}
    assert listed == {kind.__name__: kind.exit_code for kind in kinds if kind is not errors.TerraceError}
    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def commands(app: typer.Typer, name: str) -> Iterator[str]:
    """Every command that can be typed, as words."""

    def walk(command: click.Command, words: str) -> Iterator[str]:
        inner = getattr(command, "commands", {})
        if not inner:
            yield words
        for word, found in inner.items():
            yield from walk(found, f"{words} {word}")

    return walk(get_command(app), f"terrace {name}")


@pytest.mark.parametrize("tier", TIERS)
def test_every_command_stands_in_the_operations_page(tier: str) -> None:
    page = text_of("operations.md")
    assert [words for words in commands(TIERS[tier], tier) if f"| `{words}` |" not in page] == []


def typed() -> list[str]:
    """Every command line that a page shows in a block, and those in the text that have options."""
    found = []
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        text = page.read_text(encoding="utf-8")
        found += re.findall(r"^    (?:\w+=\$\()?(?:\.venv/bin/)?(terrace [^#\n|)]+)", text, re.MULTILINE)
        found += [line for line in re.findall(r"`(terrace [^`]+)`", text) if " --" in line and "…" not in line]
    return sorted({re.split(r" {3,}", line.strip())[0] for line in found})  # what stands after a gap explains the command


@pytest.mark.parametrize("line", typed())
def test_every_command_line_in_the_docs_can_be_parsed(line: str) -> None:
    _, tier, *words = shlex.split(line)
    command: click.Command = get_command(TIERS[tier])
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    command.make_context(line, words)  # raises on what the command does not take


def examples() -> list[tuple[str, str]]:
    found = []
    for page in sorted(DOCS.glob("*.md")):
        found += re.findall(r"```toml\n# (\S+\.toml)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return found


@pytest.mark.parametrize(("name", "text"), examples())
def test_every_example_configuration_parses(name: str, text: str) -> None:
    parse(text, SETTINGS[name], environment={})


def test_every_toml_example_says_which_file_it_is() -> None:
    pages = [page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")]
    assert sum(text.count("```toml\n") for text in pages) == len(examples()) >= 3


def names_in(path: Path) -> set[str]:
    """Functions, classes and `Class.method` of a file."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))}
    return found


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_function_and_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::?([\w.]+)`", text_of(page))
    gone = [f"{path}:{name}" for path, name in named if not (ROOT / path).exists() or name not in names_in(ROOT / path)]
    assert gone == []


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_file_that_a_page_names_exists(page: str) -> None:
    tops = "edge|region|cloud|shared|provisioning|tests|docs"
    named = set(re.findall(rf"`((?:{tops})/[\w/]+\.(?:py|md))\b", text_of(page)))
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_state_diagrams_are_the_drawn_ones() -> None:
    pages = {path: path.read_text(encoding="utf-8") for path in diagrams.PAGES}
    assert {path.name: diagrams.filled(page) for path, page in pages.items()} == {path.name: page for path, page in pages.items()}, (
        "run: python -m tests.docs.diagrams"
    )
    assert set(re.findall(r"<!-- diagram (\w+) -->", "".join(pages.values()))) == set(diagrams.DIAGRAMS), "each stands on a page"


def test_the_steps_of_a_round_are_the_listed_ones() -> None:
    steps = re.findall(r"^\| \d+\. \*\*(\w+)\*\*:", text_of("architecture.md"), re.MULTILINE)
    assert f"STEPS = {tuple(steps)}".replace("'", '"') in (ROOT / "cloud/federation/rounds.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("tier", ["edge", "region", "cloud"])
def test_a_daemon_imports_neither_flwr_nor_torch(tier: str) -> None:
    code = f"import sys, {tier}.main; print(*[name for name in ('flwr', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_links_between_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_file_of_the_folder_map_is_there() -> None:
    map_of = text_of("architecture.md").split("\n## Folders\n")[1].split("\n## ")[0]
    known = {path.name for top in ("edge", "region", "cloud", "shared", "provisioning") for path in (ROOT / top).rglob("*.py")}
    assert sorted(set(re.findall(r"`(\w+\.py)`", map_of)) - known) == []
