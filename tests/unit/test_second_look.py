"""The second look: doubtful frames are run again turned, the rest is untouched, and a card asks for it only where it pays."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.foundry import predictions, secondlook
from cloud.foundry.calibrate import Answers
from cloud.foundry.pictures import input_spec
from edge.model import open_model
from provisioning.line.boards import generate
from shared.deferral import second
from shared.deferral.scores import margin
from shared.engines.onnx import OnnxEngine
from shared.errors import TrustError
from shared.release.card import SecondLook, decode_card, encode_card
from shared.vision.preprocess import prepare

MODELS = Path(__file__).parents[2] / "models" / "line" / "student"
BOTH = ("mirror", "upside_down")


def corner(batch: np.ndarray) -> np.ndarray:
    """A network that reads its logits off the top row, so that every turn shows."""
    return np.asarray(batch[:, 0, 0, :3], np.float32)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 3.0))
def test_doubtful_rows_are_averaged_over_their_turns_and_others_kept(seed: int, below: float) -> None:
    batch = np.random.default_rng(seed).normal(0, 1, (6, 3, 5, 4)).astype(np.float32)
    found = second.answered(corner, batch, SecondLook(below=below, turns=BOTH))
    first = corner(batch)
    by_hand = (first + corner(batch[:, :, :, ::-1]) + corner(batch[:, :, ::-1])) / 3
    doubtful = margin(first) < below
    np.testing.assert_allclose(found[doubtful], by_hand[doubtful], atol=1e-6)
    np.testing.assert_array_equal(found[~doubtful], first[~doubtful])


def test_sure_frames_cost_no_second_pass() -> None:
    passes: list[int] = []

    def counted(batch: np.ndarray) -> np.ndarray:
        passes.append(len(batch))
        return corner(batch)

    batch = np.zeros((4, 3, 2, 3), np.float32)
    batch[:, 0, 0, 0] = (9.0, 9.0, 0.5, 9.0)
    second.answered(counted, batch, SecondLook(below=1.0, turns=BOTH))
    assert passes == [4, 1, 1]
    second.answered(counted, batch, None)
    assert passes == [4, 1, 1, 4]


def test_the_foundry_reckons_what_a_device_does() -> None:
    """The shipped student: logits turned and averaged by the foundry are those of the device's own pass, to the last bit but rounding."""
    windows = generate(seed=11, boards=8, windows=4)
    frames, spec, file = windows.frames, input_spec(windows.frames.shape[1]), MODELS / "000001.onnx"
    once = predictions.logits(file, frames, spec, threads=1)
    again = [predictions.logits(file, secondlook.frames_turned(frames, turn), spec, threads=1) for turn in BOTH]
    look = SecondLook(below=float(np.quantile(margin(once), 0.5)), turns=BOTH)
    blank = Answers(student=once, expert=once, labels=windows.labels, units=tuple(windows.units))
    np.testing.assert_allclose(
        secondlook.looked(blank, again, look).student, predictions.logits(file, frames, spec, threads=1, look=look), atol=1e-4
    )
    engine = OnnxEngine(file, threads=1)
    alone = [second.answered(engine.run, prepare(frames[place : place + 1], spec), look)[0] for place in range(8)]
    np.testing.assert_allclose(alone, predictions.logits(file, frames[:8], spec, threads=1, look=look), atol=1e-4)


def answers(noise: float, seed: int) -> tuple[Answers, list[np.ndarray]]:
    """A student whose every pass errs by itself: noise on the truth, drawn anew for each turn."""
    random, count = np.random.default_rng(seed), 1500
    labels = random.integers(0, 3, count)
    truth = np.eye(3)[labels] * 2.0
    first, *again = [(truth + noise * random.normal(0, 1, (count, 3))).astype(np.float32) for _ in range(3)]
    units = tuple(f"board-{index // 5}" for index in range(count))
    return Answers(student=first, expert=np.eye(3, dtype=np.float32)[labels] * 5, labels=labels, units=units), again


def test_it_is_taken_where_passes_err_apart_and_not_where_they_err_alike() -> None:
    fit, again = answers(1.0, 1)
    look = secondlook.chosen(fit, again, BOTH)
    assert look is not None
    assert (margin(fit.student) < look.below).mean() == pytest.approx(secondlook.DOUBTFUL, abs=0.01)
    after = secondlook.looked(fit, again, look)
    assert (after.student.argmax(axis=1) == fit.labels).mean() > (fit.student.argmax(axis=1) == fit.labels).mean()
    assert secondlook.chosen(fit, [fit.student, fit.student], BOTH) is None
    worse = [np.roll(one, 1, axis=1) for one in again]
    assert secondlook.chosen(fit, worse, BOTH) is None


def test_data_with_an_up_and_a_down_are_only_mirrored() -> None:
    assert secondlook.turns_for(turning=False) == ("mirror",)
    assert secondlook.turns_for(turning=True) == BOTH


@pytest.mark.parametrize(
    "look",
    [
        SecondLook(below=1.0, turns=()),
        SecondLook(below=1.0, turns=("inside_out",)),
        SecondLook(below=1.0, turns=("mirror", "mirror")),
        SecondLook(below=float("inf"), turns=BOTH),
    ],
)
def test_a_second_look_that_cannot_be_taken_is_refused_before_the_first_frame(look: SecondLook, tmp_path: Path) -> None:
    card = decode_card((MODELS / "000001.card.json").read_bytes())
    path = tmp_path / "card.json"
    path.write_bytes(encode_card(msgspec.structs.replace(card, second_look=look, schema=2)))
    with pytest.raises(TrustError):
        open_model(MODELS / "000001.onnx", path, lambda at: OnnxEngine(at, threads=1))
    with pytest.raises(TrustError, match="classification"):
        second.check(msgspec.structs.replace(card, task="detection", second_look=SecondLook(below=1.0, turns=BOTH)))
