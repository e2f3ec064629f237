"""`terrace region label` and `terrace region erase`: labels from a file instead of from people, and forgetting a case.

What is labelled here is recorded with the source "generator", whatever name it is given: no person looked at a picture.
"""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from region import schema
from region.classnames import class_names
from region.config import RegionSettings
from region.database import Database
from region.labelling import Labels, Wanted
from shared.audit import AuditLog
from shared.config import load
from shared.errors import InputError, StorageError

Config = Annotated[Path, typer.Option("--config", "-c", help="The region's configuration file, region.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
CaseName = Annotated[str, typer.Option("--case", help="The case as DEVICE/STREAM/FRAME.")]


def label(
    config: Config,
    file: Annotated[
        Path | None, typer.Option("--from", help="JSON list of {device, stream, frame, label, person}; - reads standard input.")
    ] = None,
    case: CaseName = "",
    label: Annotated[str, typer.Option("--label", help="The class, by number or name.")] = "",
    person: Annotated[str, typer.Option("--person", help="In whose place the generator speaks.")] = "",
    training_too: Annotated[
        bool, typer.Option("--training-too", help="Also label cases of units trained on; they leave training and do not count at the gate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Label cases from a file, in the place of people: for tests and demos, recorded as the generator's labels. The region may run.

    Two different persons who say the same freeze a case. People label on the region's page.
    """
    settings = load(config, RegionSettings)
    wanted = _read(file) if file is not None else [_one(case, label, person)]
    with _opened(settings) as database:
        taken = Labels(database).take(wanted, class_names(settings), now=time.time(), training_too=training_too)
    found = msgspec.to_builtins(taken)
    AuditLog(settings.audit_path).append(_who(), "cases.labelled", f"{taken.labelled} cases, by a generator", found)
    typer.echo(json.dumps(found) if as_json else "\n".join(f"{key:>12}  {value}" for key, value in found.items()))


def erase(config: Config, case: CaseName, person: Annotated[str, typer.Option(help="Who asks for it.")], as_json: AsJson = False) -> None:
    """Forget one case for good: its data key, its picture, its labels. The region may run; models that learned from it stay as they are."""
    settings = load(config, RegionSettings)
    device, stream, frame = _parts(case)
    with _opened(settings) as database:
        rows = database.rows(
            "SELECT id FROM facts JOIN cases USING (id) WHERE device = ? AND stream = ? AND frame = ?", (device, stream, frame)
        )
        kept = Labels(database)
        tokens = [kept.erase(row[0], person, now=time.time()) for row in rows]
    for token in tokens:
        AuditLog(settings.audit_path).append(_who(), "case.erased", f"case {token}", {"asked_by": person[:200]})
    if not tokens:
        raise InputError(f"there is no case {case} in the vault.", "It may have been dropped by retention, or erased.")
    typer.echo(json.dumps({"case": case, "erased": len(tokens), "tokens": tokens}) if as_json else f"{case} is erased.")


def add_to(app: typer.Typer) -> None:
    """Add the commands to `terrace region`."""
    app.command()(label)
    app.command()(erase)


@contextmanager
def _opened(settings: RegionSettings) -> Iterator[Database]:
    if not settings.vault_path.exists():
        raise StorageError(f"there is no vault {settings.vault_path}.", "Start the region once: terrace region serve.")
    database = Database(settings.vault_path, schema.TABLES)
    database.start()
    try:
        yield database
    finally:
        database.stop()


def _who() -> str:
    return f"{getpass.getuser()} (terminal)"


def _read(file: Path) -> list[Wanted]:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return msgspec.json.decode(data, type=list[Wanted])
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", "Give a file, or - for standard input.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no list of labels: {error}.", "It holds [{device, stream, frame, label, person}, …].") from None


def _one(case: str, said: str, person: str) -> Wanted:
    device, stream, frame = _parts(case)
    return Wanted(device=device, stream=stream, frame=frame, label=int(said) if said.isdigit() else said, person=person)


def _parts(case: str) -> tuple[str, str, int]:
    device, _, rest = case.partition("/")
    stream, _, frame = rest.rpartition("/")
    if not device or not stream or not frame.isdigit():
        raise InputError(f"{case!r} names no case.", "Write --case DEVICE/STREAM/FRAME, such as edge-1.region-1/line/204, or use --from.")
    return device, stream, int(frame)
