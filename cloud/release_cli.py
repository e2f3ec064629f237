"""`terrace cloud release`: what is published, whether it verifies, and the operator's steps of a rollout. Mounted by cloud.cli."""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloud import export, handmade, inspection, releaseview, rollout
from cloud.config import Settings
from cloud.configfile import read
from cloud.publish import Repository
from cloud.registry import Registry
from cloud.roles import DAY_S
from cloud.rollout_book import RolloutBook
from cloud.tables import open_registry
from shared.audit import AuditLog, owner
from shared.errors import FederationError, InputError, TrustError
from shared.release.card import Card, decode_card, target_path
from shared.release.desired import Desired

app = typer.Typer(no_args_is_help=True, help="Look at published releases and move the fleet between them.")
Config = Annotated[Path, typer.Option("--config", help="The cloud's configuration file.")]
Family = Annotated[str, typer.Option(help="The model family.")]
Number = Annotated[int, typer.Argument(help="The release's number.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One published release, its bytes, and the bytes of its deltas by base release."""

    family: str
    release: int
    role: str
    bytes: int
    deltas: dict[int, int]
    desired: bool


@app.command("list")
def list_releases(config_path: Config, as_json: AsJson = False) -> None:
    """List every published release with its size, its deltas and what the fleet is asked to run."""
    settings, repository = _open(config_path)
    sizes, desired = repository.targets(), repository.desired(settings.fleet)
    families = sorted({path.split("/")[1] for path in sizes if path.startswith("models/")})
    rows = [row for family in families for row in _rows(repository, family, sizes, desired)]
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "version": repository.version(),
                    "desired_version": desired.version if desired else 0,
                    "releases": msgspec.to_builtins(rows, str_keys=True),
                }
            )
        )
        return
    for row in rows:
        deltas = ", ".join(f"from {base}: {size:,} B" for base, size in row.deltas.items()) or "no deltas"
        mark = " <- desired" if row.desired else ""
        typer.echo(f"{row.family} {row.release} ({row.role}): {row.bytes:,} B, {deltas}{mark}")


@app.command()
def show(release: Number, config_path: Config, family: Family = "student", as_json: AsJson = False) -> None:
    """Show what a release says of itself: what it was made from, how good it was measured to be, its threshold and the bound behind it.

    terrace cloud release show 3 --config cloud.toml
    """
    _, repository = _open(config_path)
    found = releaseview.plain(_card(repository, family, release))
    role = _role(repository, family, release)
    if as_json:
        typer.echo(json.dumps({"signed_by": role, **found}))
        return
    typer.echo(f"{family} {release}, signed by the role {role}")
    for line in releaseview.lines(found):
        typer.echo(line)


@app.command()
def diff(
    before: Annotated[int, typer.Argument(help="A release's number.")],
    after: Annotated[int, typer.Argument(help="Another's.")],
    config_path: Config,
    family: Family = "student",
    as_json: AsJson = False,
) -> None:
    """Show what distinguishes two releases: figures, threshold, labels, input, origin, and the bytes from one to the other.

    terrace cloud release diff 2 3 --config cloud.toml
    """
    _, repository = _open(config_path)
    cards = [releaseview.plain(_card(repository, family, one)) for one in (before, after)]
    found = releaseview.changed(*cards)
    sizes, role = repository.targets(), _role(repository, family, after)
    full = sizes[target_path(family, role, after, "onnx")]
    by_delta = sizes.get(target_path(family, role, after, f"from-{before:06d}.delta"))
    if as_json:
        typer.echo(json.dumps({"changed": found, "full_bytes": full, "delta_bytes": by_delta}))
        return
    for name, (old, new) in found.items():
        typer.echo(f"{name:>28}  {releaseview.words(old)} → {releaseview.words(new)}")
    typer.echo(f"{'bytes':>28}  {full:,} in full, " + (f"{by_delta:,} by delta" if by_delta is not None else "no delta between them"))


@app.command()
def verify(config_path: Config, root: Annotated[Path | None, typer.Option(help="A root.json to start from.")] = None) -> None:
    """Check the whole repository from a root of trust, as a device would, and rebuild every delta."""
    settings, repository = _open(config_path)
    found = inspection.verify(repository, settings.fleet, root=_read_root(root) if root else repository.root())
    desired = f"desired state {found.desired.version}" if found.desired else "no desired state"
    typer.echo(f"version {found.version}: {found.files} files, {found.models} models, {found.deltas} deltas and {desired} verify.")


@app.command()
def add(
    onnx: Annotated[Path, typer.Option(help="The model file.")],
    card: Annotated[Path, typer.Option(help="Its card.")],
    config_path: Config,
    model: Annotated[str, typer.Option(help="The model family.")] = "student",
    role: Annotated[str, typer.Option(help="Only manual: the approver's key; automatic releases come from rounds.")] = handmade.MANUAL,
    number: Annotated[int | None, typer.Option(help="Its release number; 0 takes the next free one. Default: the card's.", min=0)] = None,
    weights: Annotated[Path | None, typer.Option(help="Its fp32 weights (.npz), so that rounds can start from it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a release made by hand with the approver's key and publish it. No device runs it before a rollout names it.

    It passes no gate: only what devices would refuse to load, and labels other than the fleet's, are turned away. Roll it out with
    `terrace cloud rollout start`.
    """
    if role != handmade.MANUAL:
        raise InputError(f"nobody signs {role!r} releases by hand.", "Automatic releases come from rounds: terrace cloud round start.")
    settings, repository = _open(config_path)
    database = open_registry(settings)
    database.start()
    try:
        audit = AuditLog(settings.audit_path)
        published = handmade.add(
            settings, repository, Registry(database), audit, model=model, onnx=onnx, card=card, weights=weights, number=number, who=owner()
        )
    finally:
        database.stop()
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(published, str_keys=True)))
        return
    typer.echo(f"{model} {published.release}: {published.full_bytes:,} B, signed by the approver's key.")
    typer.echo(f"Roll it out: terrace cloud rollout start {published.release}")


@app.command("rollout")
def start_rollout(
    release: int,
    config_path: Config,
    family: Family = "student",
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the devices that may run it.")] = 1.0,
) -> None:
    """Ask the fleet, or a share of it, to run a release at once, unwatched; for the release it is asked to run, widen its share.

    Watched, in steps, and taken back when it is worse: terrace cloud rollout start.
    """
    settings, repository = _open(config_path)
    _refuse_while_open(settings, family)
    before = repository.desired(settings.fleet)
    if before is not None and family in before.models and before.models[family].release == release:
        after = rollout.widen(before, family, share)
    else:
        role = _role(repository, family, release)
        names = repository.targets()
        deltas = [n for n in repository.releases(family) if target_path(family, role, release, f"from-{n:06d}.delta") in names]
        salt = secrets.token_hex(16)
        after = rollout.follow(
            before, fleet=settings.fleet, family=family, release=release, role=role, deltas=deltas, salt=salt, share=share
        )
    repository.set_desired(after)
    AuditLog(settings.audit_path).append(owner(), "desired.changed", f"{family} {release}", {"version": after.version, "share": share})
    typer.echo(f"desired state {after.version}: {family} {release} for {share:.0%} of {settings.fleet}.")


@app.command()
def back(
    config_path: Config, family: Family = "student", release: Annotated[int, typer.Option(help="Default: the one before.")] = 0
) -> None:
    """Take the fleet back to an older release, in a newer desired state."""
    settings, repository = _open(config_path)
    _refuse_while_open(settings, family)
    before = repository.desired(settings.fleet)
    if before is None:
        raise TrustError(f"the fleet {settings.fleet} has no desired state yet.", "Start with: terrace cloud release rollout.")
    after = rollout.go_back(before, family, release=release, role=_role(repository, family, release) if release else "")
    repository.set_desired(after)
    taken = f"{family} {after.models[family].release}"
    AuditLog(settings.audit_path).append(owner(), "desired.back", taken, {"version": after.version})
    typer.echo(f"desired state {after.version}: {family} {after.models[family].release} for all of {settings.fleet}.")


@app.command()
def refresh(config_path: Config) -> None:
    """Sign a new timestamp and renew what is due; the cloud's daemon does this by itself."""
    _, repository = _open(config_path)
    typer.echo(f"timestamp version {repository.refresh_timestamp()}.")


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(help="The file to write, such as releases.tar.")],
    config_path: Config,
    days: Annotated[int, typer.Option(help="For how many days sites take it for current, at most 30.")] = 30,
    everything: Annotated[bool, typer.Option("--all", help="Carry every published file, not only what the desired state names.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write what the fleet should run to one file, for sites without a network. There: terrace region release import FILE."""
    settings, repository = _open(config_path)
    found = export.export(repository, settings.fleet, file, lasts_s=days * DAY_S, everything=everything)
    AuditLog(settings.audit_path).append(owner(), "release.export", file.name, msgspec.to_builtins(found))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found)))
        return
    until = datetime.fromtimestamp(found.until, timezone.utc)
    typer.echo(
        f"{file}: {found.targets} files, {found.bytes:,} B, repository version {found.version}, good until {until:%Y-%m-%d %H:%M} UTC"
    )


def _open(path: Path) -> tuple[Settings, Repository]:
    settings = read(path)
    return settings, Repository(settings.repository_folder, settings.repository.keys)


def _refuse_while_open(settings: Settings, family: str) -> None:
    """Keep two hands off one desired state.

    Raises:
        FederationError: a rollout of the family is open.
    """
    database = open_registry(settings)
    database.start()
    try:
        current = RolloutBook(database).open(family)
    finally:
        database.stop()
    if current:
        number = current[0].id
        raise FederationError(f"rollout {number} of {family} is open.", f"End it first: terrace cloud rollout abort {number}")


def _card(repository: Repository, family: str, release: int) -> Card:
    role = _role(repository, family, release)
    path = target_path(family, role, release, "card.json")
    if path not in repository.targets():
        raise InputError(f"{family} {release} is no model with a card.", "`terrace cloud release list` shows what is published.")
    return decode_card(repository.content(path))


def _role(repository: Repository, family: str, release: int) -> str:
    role = repository.releases(family).get(release)
    if role is None:
        raise InputError(f"there is no release {release} of {family}.", "`terrace cloud release list` shows what is published.")
    return role


def _rows(repository: Repository, family: str, sizes: dict[str, int], desired: Desired | None) -> list[Row]:
    wanted = desired.models.get(family) if desired else None
    rows = []
    for release, role in repository.releases(family).items():
        stem = target_path(family, role, release, "")
        row = Row(
            family=family,
            release=release,
            role=role,
            bytes=sizes.get(f"{stem}onnx", sizes.get(f"{stem}npz", 0)),
            deltas={int(path[len(stem) + 5 :].split(".")[0]): size for path, size in sizes.items() if path.startswith(f"{stem}from-")},
            desired=wanted is not None and wanted.release == release,
        )
        rows.append(row)
    return rows


def _read_root(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
