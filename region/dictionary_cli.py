"""`terrace region dictionary …`: learn dictionaries for compression, and list them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from region.config import RegionSettings
from region.lexicon import learn_detections, learn_telemetry
from region.vault import Vault
from shared import log
from shared.config import load
from shared.errors import InputError
from shared.link.dictionaries import DictionaryFolder
from shared.wire.dictionary import Dictionary
from shared.wire.messages import Kind, encode

app = typer.Typer(no_args_is_help=True, help="Dictionaries that make small messages shorter; never learned from pictures.")
Config = Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def train(config: Config, as_json: AsJson = False) -> None:
    """Learn a dictionary for telemetry and one for detections from what this region has lately heard; the running region announces them.

    Of a class with too few messages none is learned, and that is said.
    """
    settings = load(config, RegionSettings)
    log.configure(level="warning")
    folder = DictionaryFolder(settings.state / "dictionaries")
    vault = Vault(settings.vault_path, read_only=True)
    lessons: dict[str, Callable[[], Dictionary]] = {
        "telemetry": lambda: learn_telemetry(settings.state),
        "detections": lambda: learn_detections(vault),
    }
    learned: dict[str, Dictionary] = {}
    refused: dict[str, InputError] = {}
    vault.start()
    try:
        for name, lesson in lessons.items():
            try:
                learned[name] = lesson()
            except InputError as error:
                refused[name] = error
    finally:
        vault.stop()
    if not learned:
        raise next(iter(refused.values()))
    for dictionary in learned.values():
        folder.put(dictionary)
    if as_json:
        typer.echo(json.dumps({name: _about(one) for name, one in learned.items()} | {name: str(one) for name, one in refused.items()}))
        return
    lines = {name: _line(one) for name, one in learned.items()} | {name: str(one) for name, one in refused.items()}
    typer.echo("\n".join(f"{name:>12}  {line}" for name, line in lines.items()))


@app.command("list")
def list_(config: Config, as_json: AsJson = False) -> None:
    """List the dictionaries, newest first."""
    folder = DictionaryFolder(load(config, RegionSettings).state / "dictionaries")
    folder.refresh()
    found = [one for digest in folder.shelf.digests if (one := folder.shelf.named(digest)) is not None]
    typer.echo(json.dumps([_about(one) for one in found]) if as_json else "\n".join(map(_line, found)) or "There are none.")


def add_to(region: typer.Typer) -> None:
    """Add the commands to `terrace region`."""
    region.add_typer(app, name="dictionary")


def _kinds(dictionary: Dictionary) -> list[str]:
    return [Kind(kind).name.lower() for kind in dictionary.kinds]


def _about(dictionary: Dictionary) -> dict[str, object]:
    return {
        "digest": dictionary.digest.hex(),
        "id": f"{dictionary.id:08x}",
        "bytes": len(encode(dictionary)),
        "kinds": _kinds(dictionary),
    }


def _line(dictionary: Dictionary) -> str:
    return f"{dictionary.digest.hex()}  {len(encode(dictionary))} bytes, for {', '.join(_kinds(dictionary))}"
