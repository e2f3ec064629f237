"""The signing process of automatic releases: `python -m cloud.signer`, one request on standard input, signed metadata on standard output.

It holds the only key of the role `auto` and believes nobody who asks. It signs when, in this order:
1. the repository as it stands verifies from the root handed over in the ceremony, and has not gone back;
2. every new file is a file of one release under `models/<family>/auto/`, and hashes to what the request says;
3. the release's number is above every published one, and its card names its own family, number and model file;
4. the card's parent is a published release of the family, and labels, task and input are equal to the parent's;
5. the model uses allowed operators only and keeps no data outside (see graph);
6. every delta rebuilds the new model from the base it names, byte for byte;
7. the gates' evidence is about this very model file and all of it passed.
A request without files renews the role's signature on what it signed before.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import typer
from tuf.api.metadata import Metadata, TargetFile, Targets

from cloud import evidence, graph, succession
from cloud.ceremony import SIGNERS_ROOT
from cloud.keyring import Keyring
from cloud.roles import AUTO, MANUAL
from cloud.signing import SignRequest, decode_request
from shared.clock import wall
from shared.errors import TerraceError, TrustError
from shared.release.card import Card, decode_card, sha256, target_path
from shared.release.fetch import from_folder
from shared.release.trust import TrustedClient

LARGEST_MODEL_BYTES = 1 << 30


def sign(request: SignRequest, *, now: float) -> bytes:
    """Check a request and sign it.

    Args:
        request: what is asked for.
        now: Unix seconds, from which the signature lasts.

    Returns:
        Signed metadata of the role `auto`, one version above the current.

    Raises:
        TrustError: a rule is broken.
        IdentityError: the signing key is not here.
    """
    client = TrustedClient(
        request.keys / "signer" / "trust",
        bootstrap_root=(request.keys / SIGNERS_ROOT).read_bytes(),
        fetch=from_folder(request.repository),
    )
    client.refresh()
    signed = _current(client)
    if request.files:
        for file in _checked(request, client, signed):
            signed.targets[file.path] = file
    signed.version += 1
    signed.expires = datetime.fromtimestamp(int(now), timezone.utc) + timedelta(seconds=AUTO.lifetime_s)
    metadata: Metadata[Targets] = Metadata(signed)
    for signer in Keyring(request.keys).signers(AUTO):
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _current(client: TrustedClient) -> Targets:
    for role in (MANUAL, AUTO):
        client.target(f"models/any/{role.name}/000000.onnx")  # a look-up makes the client fetch and check the role's metadata
    return Metadata[Targets].from_bytes(client.trusted(AUTO.name)).signed


def _checked(request: SignRequest, client: TrustedClient, signed: Targets) -> list[TargetFile]:
    model, release, stem = succession.one_release([path for path, _ in request.files])
    files = {path: _content(request, path, digest) for path, digest in request.files}
    card, content = files.get(f"{stem}.card.json"), files.get(f"{stem}.onnx")
    if card is None or content is None:
        raise TrustError("a release is asked for with its model and its card together.")
    known = _published(client, signed, model)
    if release <= max(known, default=0):
        raise TrustError(f"release {release} of {model} is not above those published.")
    described = decode_card(card)
    succession.check_child(described, _parent(described, model, client, known), model=model, release=release, content=content)
    graph.check(content)
    evidence.judge(evidence.decode_evidence(request.gates), model=model, release=release, onnx_sha256=sha256(content))
    return [_target(path, data, client, known, content) for path, data in files.items()]


def _content(request: SignRequest, path: str, digest: str) -> bytes:
    folder, _, name = path.rpartition("/")
    content = b"".join(from_folder(request.repository)(f"targets/{folder}/{digest}.{name}", 0))
    if len(content) > LARGEST_MODEL_BYTES or sha256(content) != digest:
        raise TrustError(f"the file of {path} is not the one the request names.")
    return content


def _published(client: TrustedClient, signed: Targets, model: str) -> dict[int, str]:
    manual = Metadata[Targets].from_bytes(client.trusted(MANUAL.name)).signed
    known: dict[int, str] = {}
    for role, targets in ((MANUAL.name, manual.targets), (AUTO.name, signed.targets)):
        prefix = f"models/{model}/{role}/"
        models = [path for path in targets if path.startswith(prefix) and path.endswith(".onnx")]
        known.update({int(path[len(prefix) :].split(".")[0]): role for path in models})
    return known


def _parent(card: Card, model: str, client: TrustedClient, known: dict[int, str]) -> Card:
    parent = card.lineage.parent
    if parent not in known:
        raise TrustError(f"the card's parent, release {parent}, is not published.")
    path = target_path(model, known[parent], parent, "card.json")
    return decode_card(client.read(path, limit_bytes=client.require(path).length))


def _target(path: str, data: bytes, client: TrustedClient, known: dict[int, str], content: bytes) -> TargetFile:
    base = succession.base_of(path, known)
    if base is None:
        return TargetFile.from_data(path, data, ["sha256"])
    model = path.split("/")[1]
    old = client.read(target_path(model, known[base], base, "onnx"), limit_bytes=LARGEST_MODEL_BYTES)
    return succession.delta_target(path, data, base=base, old=old, content=content)


def main() -> None:
    """Answer one request; refusals go to standard error with their exit code."""
    try:
        data = sign(decode_request(sys.stdin.buffer.read()), now=wall())
    except TerraceError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(f"the signing process cannot read what it was given: {error}.", err=True)
        sys.exit(TrustError.exit_code)
    sys.stdout.buffer.write(data)


if __name__ == "__main__":
    main()
