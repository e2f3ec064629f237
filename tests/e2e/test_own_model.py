"""A user's own model, running: the release of an import on an agent alone, and in a fleet whose region answers with the imported expert."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from cloud.ownmodel.cli import app
from tests.own_page import Newcomer, commands
from tests.unit.own_detectors import boards, detector
from tests.unit.own_models import IMAGENET, NAMES, classifier, pictures, squares, video
from tests.unit.own_segmenters import plates, segmenter
from tests.waiting import until


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    """A folder with what users bring: two models, labels, pictures, a video."""
    classifier(tmp_path / "classifier.onnx", bias=(1.2, 0.0, -0.6), wants=IMAGENET, end="Softmax")
    classifier(tmp_path / "big.onnx")
    pictures(tmp_path / "pictures", squares(240, 5))
    (tmp_path / "labels.txt").write_text("\n".join(NAMES) + "\n")
    found = Newcomer(tmp_path)
    yield found
    found.close()


def test_an_agent_answers_every_picture_as_the_file_that_was_given(newcomer: Newcomer) -> None:
    folder, seen = newcomer.folder, squares(40, 9)
    words = ["import", str(folder / "classifier.onnx"), "--labels", str(folder / "labels.txt"), "--calibrate", str(folder / "pictures")]
    done = CliRunner(env={"TERRACE_CACHE": str(folder / "cache")}).invoke(
        app, [*words, "--precision", "fp32", "--out", str(folder / "release")]
    )
    assert done.exit_code == 0, done.output
    for words in commands(newcomer.page["On one device"])[:2]:
        newcomer.type(words)
    newcomer.read("On one device")
    pictures(folder / "seen", seen)
    config = folder / "edge.toml"
    config.write_text(config.read_text().replace('"video"', '"folder"').replace('"line.mp4"', '"seen"\nfps = 50.0'))
    newcomer.type(["terrace", "edge", "run"])
    until(lambda: len({event["sequence"] % 40 for event in newcomer.events()}) == 40, newcomer.told, within_s=30)
    mean, deviation = (np.asarray(one, np.float32) for one in IMAGENET)
    session = onnxruntime.InferenceSession(str(folder / "classifier.onnx"))
    order = sorted(range(40), key=lambda index: (NAMES[seen.labels[index]], index))
    given = ((seen.frames[order] / np.float32(255) - mean) / deviation).transpose(0, 3, 1, 2)
    (scores,) = session.run(None, {"images": given.astype(np.float32)})
    first = {event["sequence"] % 40: event["label"] for event in newcomer.events() if event["source"] == "edge"}
    assert [first[number] for number in range(40)] == [NAMES[row] for row in scores.argmax(axis=1)]
    assert {event["action"] for event in newcomer.events()} >= {"keep", "defer"}, "the card's threshold is in force"
    assert newcomer.stop("edge") == 0


@pytest.mark.slow
def test_detectors_and_segmenters_are_imported_as_the_page_says(tmp_path: Path) -> None:
    for kind in ("detector", "segmenter"):
        (tmp_path / kind).mkdir()
    seeing = Newcomer(tmp_path / "detector")
    detector(seeing.folder / "detector.onnx", bias=-5.0, sharp=50.0)
    detector(seeing.folder / "big.onnx", bias=-3.0, sharp=80.0)
    boards(seeing.folder / "boards", 200, 3)
    (seeing.folder / "labels.txt").write_text("red\ngreen\nblue\n")
    seeing.follow("Detectors")
    (seeing.folder / "old-release").symlink_to("release")
    boards(seeing.folder / "fresh", 40, 4)
    seeing.follow("Comparing two")
    assert "self-test: 2 pictures" in seeing.answer("model", "inspect", "release")
    outlining = Newcomer(tmp_path / "segmenter")
    segmenter(outlining.folder / "segmenter.onnx", bias=6.5, sharp=75.0)
    segmenter(outlining.folder / "big.onnx", bias=8.5, sharp=120.0)
    plates(outlining.folder / "plates", 200, 3)
    (outlining.folder / "labels.txt").write_text("ground\nred\ngreen\n")
    outlining.follow("Segmenters")
    assert "self-test: 2 pictures" in outlining.answer("model", "inspect", "release")


@pytest.mark.slow
def test_what_the_page_says_takes_a_model_to_a_fleet(newcomer: Newcomer) -> None:
    folder = newcomer.folder
    classifier(folder / "small.onnx", bias=(1.2, 0.0, -0.6))
    classifier(folder / "better.onnx", bias=(0.3, 0.0, 0.0))
    video(folder / "line.mp4", squares(60, 12))
    newcomer.follow("In short")
    newcomer.follow("Importing")
    newcomer.follow("On one device")
    until(lambda: len(newcomer.events()) > 30, newcomer.told, within_s=60)
    assert {event["source"] for event in newcomer.events()} <= {"edge", "expired"}, "no region yet"
    assert newcomer.stop("edge") == 0
    newcomer.read("In a fleet")
    steps = commands(newcomer.page["In a fleet"])
    later = next(place for place, words in enumerate(steps) if "better.onnx" in words)
    for words in steps[:later]:
        newcomer.type(words)
    until(lambda: corrected(newcomer), newcomer.told, within_s=120)
    for words in steps[later:]:
        newcomer.type(words)
    until(lambda: newcomer.events()[-1]["release"] == 2, newcomer.told, within_s=120)


def corrected(newcomer: Newcomer) -> list[dict[str, Any]]:
    """The events in which the region's expert says something else than the device did."""
    events = newcomer.events()
    own = {event["sequence"]: event["label"] for event in events if event["source"] == "edge"}
    final = [event for event in events if (event["source"], event["state"], event["expert_release"]) == ("region", "final", 1)]
    return [event for event in final if own.get(event["sequence"]) != event["label"]]
