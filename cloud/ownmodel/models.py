"""One model of an import, the student or the expert: its file in the devices' form, its normalisation, its answers to the user's pictures.

Every step is kept by content hash (foundry.workbench), so that an import that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import predictions, secondlook
from cloud.foundry.workbench import Say, Workbench, digest
from cloud.ownmodel import album, fitting, judgement, modelfile
from cloud.ownmodel.album import Album
from cloud.ownmodel.normalisation import AUTO, KNOWN, UNIT, named
from cloud.ownmodel.shares import Indices
from cloud.ownmodel.surgery import Wanted
from shared.errors import EngineError, InputError
from shared.learning.samples import Frames, Logits
from shared.release.card import DetectionSpec, InputSpec
from shared.vision.fit import STRETCH, Place, Size, place_of
from shared.vision.tasks.detection import Detection
from shared.vision.tasks.segmentation import Segmentation
from shared.vision.tasks.task import DETECTION, SEGMENTATION

MOST_TRIED = 200
CHUNK = 64
EVERY = 200
MASK_COEFFICIENTS = 32
"""Numbers that exporters of one-stage detectors append to each box for its mask (YOLACT's prototypes, Bolya et al. 2019)."""
Sizes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the devices' form: file, input, the pictures in its size, and how often it was right with each normalisation tried.

    `sizes` are the pictures' own, int64 (N, 2): height and width in pixels.
    """

    file: Path
    fitted: fitting.Fitted
    spec: InputSpec
    normalisation: str
    tried: dict[str, float]
    frames: Frames
    sizes: Sizes

    def size(self, index: int) -> Size:
        """Return a picture's own height and width in pixels."""
        height, width = self.sizes[index].tolist()
        return height, width

    def place(self, index: int) -> Place:
        """Return where a picture lies in the model's input."""
        return place_of(self.size(index), self.spec)


def brought(bench: Workbench, path: Path, wanted: Wanted, pictures: Album, ranges: Indices, normalise: str) -> Brought:
    """Bring a model into the devices' form.

    Args:
        bench: where finished steps are kept.
        path: the user's file.
        wanted: what the user says of the graph.
        pictures: the user's.
        ranges: the pictures on which a normalisation may be chosen.
        normalise: a normalisation, or AUTO to try those that are known.

    Raises:
        InputError: the file or a picture cannot be read, or a normalisation has to be said.
        EngineError: the graph is of a kind that devices cannot run.
    """
    if normalise != AUTO:
        named(normalise)
    key = digest(*modelfile.parts(path)) + msgspec.json.encode(wanted)

    def make(folder: Path) -> None:
        bench.say(f"reading {path.name}")
        done = fitting.fit(path, wanted, folder / "model.onnx")
        (folder / "fitted.json").write_bytes(msgspec.json.encode(done))

    folder = bench.step("model", key, make)
    fitted = msgspec.json.decode((folder / "fitted.json").read_bytes(), type=fitting.Fitted)
    _check_answer(wanted.task, fitted, pictures.names, path)
    frames, sizes = resized(bench, pictures, spec_of(fitted, UNIT, wanted.fit))
    name = normalise
    shares: dict[str, float] = {}
    if normalise == AUTO:
        name, shares = _chosen(folder / "model.onnx", fitted, pictures, frames, ranges)
    return Brought(
        file=folder / "model.onnx",
        fitted=fitted,
        spec=spec_of(fitted, name, wanted.fit),
        normalisation=name,
        tried=shares,
        frames=frames,
        sizes=sizes,
    )


def resized(bench: Workbench, pictures: Album, spec: InputSpec) -> tuple[Frames, Sizes]:
    """Return the pictures as they lie in a network's input, uint8 (N, height, width, 3), and their own sizes, int64 (N, 2).

    They come from the disk as they are looked at.
    """

    def make(folder: Path) -> None:
        say = counting(bench.say, f"pictures in {spec.width}x{spec.height}", len(pictures.files))
        np.save(folder / "sizes.npy", album.pixels(pictures.files, spec, done=say, out=folder / "frames.npy"))

    folder = bench.step("pictures", pictures.key() + f"{spec.width}x{spec.height} {spec.fit} {spec.padding}".encode(), make)
    frames: Frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
    sizes: Sizes = np.load(folder / "sizes.npy", allow_pickle=False)
    return frames, sizes


def answers(bench: Workbench, file: Path, spec: InputSpec, frames: Frames, key: bytes, *, turn: str = "") -> Logits:
    """Return a model's logits float32 (N, C) on all pictures, or on all of them turned; kept by content hash.

    Args:
        bench: where they are kept.
        file: the model.
        spec: its input.
        frames: uint8 (N, H, W, 3).
        key: what the pictures depend on.
        turn: one of deferral.second.TURNS, or as they are.
    """

    def make(folder: Path) -> None:
        say = counting(bench.say, f"answers of {file.stem}", len(frames))
        parts = []
        for start in range(0, len(frames), CHUNK):
            part = np.asarray(frames[start : start + CHUNK])
            parts.append(predictions.logits(file, secondlook.frames_turned(part, turn) if turn else part, spec))
            say(min(start + CHUNK, len(frames)))
        np.save(folder / "logits.npy", np.concatenate(parts))

    folder = bench.step("answers", key + digest(file) + msgspec.json.encode(spec) + turn.encode(), make)
    logits: Logits = np.load(folder / "logits.npy", allow_pickle=False)
    return logits


def spec_of(fitted: fitting.Fitted, normalise: str, fit: str = STRETCH) -> InputSpec:
    """Return a card's input for a size, a normalisation and a fit."""
    found = named(normalise)
    return msgspec.convert({"width": fitted.width, "height": fitted.height, "mean": found.mean, "std": found.std, "fit": fit}, InputSpec)


def counting(say: Say, what: str, total: int) -> Callable[[int], None]:
    """Return what takes a count and says in a line when another EVERY are done, and the last."""
    told = 0

    def tell(done: int) -> None:
        nonlocal told
        if done >= told + EVERY or done == total:
            told = done
            say(f"{what}: {done} of {total}")

    return tell


def _chosen(file: Path, fitted: fitting.Fitted, pictures: Album, frames: Frames, ranges: Indices) -> tuple[str, dict[str, float]]:
    """Find the normalisation by trying those that are known."""
    if not pictures.labelled:
        raise InputError(
            "which normalisation the model wants cannot be found without labels.",
            f"Say it: --normalise {'|'.join(KNOWN)}, or sort the pictures into sub-folders by class.",
        )
    some = ranges[:MOST_TRIED]
    if not len(some):
        raise InputError(f"{len(pictures.files)} pictures are too few to try a model on.", "Give at least 100, better 1000.")
    looked = np.asarray(frames[some])
    tried = {name: predictions.logits(file, looked, spec_of(fitted, name)) for name in KNOWN}
    return judgement.best(tried, pictures.label_array()[some])


def _check_answer(task: str, fitted: fitting.Fitted, names: tuple[str, ...], path: Path) -> None:
    if task == DETECTION:
        _check_columns(fitted.shape, len(names), path)
        Detection(labels=len(names), input=spec_of(fitted, UNIT), spec=DetectionSpec()).check(fitted.shape)
    elif task == SEGMENTATION:
        Segmentation(labels=len(names)).check(fitted.shape)
    elif fitted.scores != len(names):
        raise InputError(
            f"{path.name} has {fitted.scores} scores, there are {len(names)} labels.",
            "Give one label per output, in the model's order, with a background class where the model has one.",
        )


def _check_columns(shape: tuple[int, ...], labels: int, path: Path) -> None:
    """Say which labels or which head a detector's columns would fit, where they do not fit these."""
    if len(shape) != 3 or {4 + labels, 5 + labels, 6} & set(shape[1:]):
        return
    columns = min(shape[1:])
    if columns - 4 - labels == MASK_COEFFICIENTS:
        raise EngineError(
            f"{path.name} outlines things: {MASK_COEFFICIENTS} numbers of each box are for its mask.",
            "Export a detector, or a network with a map of classes (--task segmentation).",
        )
    raise EngineError(
        f"{path.name} has {columns} numbers for each box: {columns - 4} classes, or {columns - 5} and whether there is a thing at all; "
        f"there are {labels} labels.",
        "Give one label per class, in the model's order.",
    )
