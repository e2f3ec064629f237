"""The pages under docs/ say what the code says: generated parts are equal, names that are named exist, examples parse."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
import typer
from typer.main import get_command

from cloud.cli import app as cloud
from cloud.config import Settings
from edge.cli import app as edge
from edge.config import EdgeSettings
from provisioning.cli import app as provision
from region.cli import app as region
from region.config import RegionSettings
from shared import errors
from shared.config import parse
from shared.hwprofile.cli import app as hw
from tests.docs import configuration

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SETTINGS: dict[str, type[msgspec.Struct]] = {"cloud.toml": Settings, "edge.toml": EdgeSettings, "region.toml": RegionSettings}
TIERS = {"edge": edge, "region": region, "cloud": cloud, "provision": provision, "hw": hw}


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
            found |= {f"{node.name}.{inner.name}" for inner in getattr(node, "body", []) if isinstance(inner, ast.FunctionDef)}
            found |= {inner.name for inner in getattr(node, "body", []) if isinstance(inner, ast.FunctionDef)}
    return found


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists() and target not in {"docs/architecture.md", "docs/security.md", "docs/limits.md"}:
                assert target in {"docs/benchmarks.md", "architecture.md"}, f"{page.name} links to {target}"
