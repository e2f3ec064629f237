"""What an automatic release may differ in from its parent, and what may travel with it: the signing process's own checks. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import PurePosixPath

from tuf.api.metadata import TargetFile

from shared.errors import TrustError
from shared.release import delta
from shared.release.card import Card, sha256

INHERITED = ("labels", "task", "input")
"""What only a person may change."""


def one_release(paths: Iterable[str]) -> tuple[str, int, str]:
    """Return family, number and common stem of the files of one automatic release.

    Raises:
        TrustError: they are anything else.
    """
    stems = {path.split(".", 1)[0] for path in paths}
    parts = PurePosixPath(next(iter(stems), "")).parts
    if len(stems) != 1 or len(parts) != 4 or parts[0] != "models" or parts[2] != "auto" or not parts[3].isdigit():
        raise TrustError("a request is for the files of one automatic release.")
    return parts[1], int(parts[3]), next(iter(stems))


def check_child(card: Card, parent: Card, *, model: str, release: int, content: bytes) -> None:
    """Check that a card is of this very model file and that it inherits what it must.

    Args:
        card: the new release's card.
        parent: the published card of the release it came from.
        model: the family the files lie under.
        release: the number the files have.
        content: the model file.

    Raises:
        TrustError: it names something else, or labels, task or input differ.
    """
    if (card.model, card.release, card.onnx_sha256) != (model, release, sha256(content)):
        raise TrustError("the card does not name its own family, number and model file.")
    for name in INHERITED:
        if getattr(card, name) != getattr(parent, name):
            raise TrustError(f"the card's {name} differs from its parent's.", "Such a release is signed by a person, as manual.")


def base_of(path: str, known: Container[int]) -> int | None:
    """Return the base a file is a delta from, None for the model and its card.

    Raises:
        TrustError: it is no file of a release, or a delta from a release that is not published.
    """
    suffix = path.rpartition("/")[2].split(".", 1)[1]
    if suffix in {"onnx", "card.json"}:
        return None
    base = suffix.removeprefix("from-").removesuffix(".delta")
    if suffix != f"from-{base}.delta" or not base.isdigit() or int(base) not in known:
        raise TrustError(f"{path} is no file of a release.")
    return int(base)


def delta_target(path: str, data: bytes, *, base: int, old: bytes, content: bytes) -> TargetFile:
    """Return a delta's target after rebuilding the release with it.

    Raises:
        TrustError: it leads elsewhere.
        ProtocolError: it is no delta.
    """
    delta.apply(old, data, expect_sha256=sha256(content), limit_bytes=len(content))
    file = TargetFile.from_data(path, data, ["sha256"])
    result = path.rpartition(".from-")[0] + ".onnx"
    file.unrecognized_fields["custom"] = {"base": base, "result": result, "result_sha256": sha256(content)}
    return file
