"""The foundry: what is quantised still answers alike, what is promised is bounded, what is built is built once."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from cloud.config import FoundrySection
from cloud.federation.workshop import Workshop
from cloud.foundry import build, calibrate, gates, measure, predictions
from cloud.foundry.calibrate import Answers
from cloud.foundry.cli import app
from cloud.foundry.distil import distil, student_model, with_expert
from cloud.foundry.export import to_onnx
from cloud.foundry.form import HIGHEST_IR, OPSET
from cloud.foundry.pictures import input_spec, load
from cloud.foundry.plans import Phase, Plan
from cloud.foundry.quantise import quantise
from cloud.foundry.replay import write_replay
from cloud.foundry.selftest import chosen, self_test
from cloud.foundry.workbench import Workbench
from shared.deferral import risk
from shared.engines.admission import admit
from shared.engines.onnx import OnnxEngine
from shared.errors import FederationError, InputError, TrustError
from shared.learning import architectures, arrays
from shared.learning.loop import Recipe, predict, train
from shared.release.card import QualityPoint, decode_card
from shared.release.modelcache import built, listing
from shared.vision.preprocess import prepare
from tests.squares import colours

SIDE = 24
SPEC = input_spec(SIDE)
TINY = Plan(
    expert=(Phase(steps=30, rate=3e-3, crop_px=12), Phase(steps=12, rate=2e-3)),
    student=(Phase(steps=30, rate=4e-3, crop_px=16), Phase(steps=25, rate=3e-3)),
    shift_px=2,
    threads=1,
)


@pytest.fixture(scope="module")
def taught() -> nn.Module:
    model = architectures.student(3, side=SIDE, seed=1)
    train(model, colours(256, SIDE), Recipe(steps=40, rate=3e-3))
    return model


def splits(folder: Path) -> Path:
    """Write the four splits of a small task: squares of three colours."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate({"seed": 256, "calibration": 40, "policy-fit": 300, "policy-test": 300}.items()):
        one = colours(count, SIDE, seed)
        units = np.array([f"{name}-{index // 2}" for index in range(count)])
        content = {"frames": one.frames, "labels": one.labels, "units": units, "names": np.array(["r", "g", "b"]), "spots": one.spots}
        np.savez(folder / f"{name}.npz", **content)
    return folder


def test_the_export_says_what_the_model_says_and_old_runtimes_read_it(taught: nn.Module, tmp_path: Path) -> None:
    data = to_onnx(taught, side=SIDE)
    admit(data)
    assert data == to_onnx(taught, side=SIDE), "the bytes depend on the weights alone"
    model = onnx.load_model_from_string(data)
    assert model.ir_version <= HIGHEST_IR
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert not [node for node in model.graph.node if node.op_type == "BatchNormalization"], "folded into the convolutions"
    (tmp_path / "m.onnx").write_bytes(data)
    frames = colours(20, SIDE, 7).frames
    found = OnnxEngine(tmp_path / "m.onnx").run(prepare(frames, SPEC))
    assert np.allclose(found, predict(taught, frames), atol=1e-4)


def test_int8_answers_like_fp32_and_is_smaller(taught: nn.Module, tmp_path: Path) -> None:
    data, test = to_onnx(taught, side=SIDE), colours(200, SIDE, 7)
    small = quantise(data, colours(64, SIDE, 8).frames, SPEC)
    admit(small)
    assert small == quantise(data, colours(64, SIDE, 8).frames, SPEC)
    assert len(small) < 0.5 * len(data)
    model = onnx.load_model_from_string(small)
    assert model.ir_version <= HIGHEST_IR
    weights = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4]
    assert weights
    assert all(np.abs(onnx.numpy_helper.to_array(one).astype(int)).max() <= 64 for one in weights), "seven bits: nothing saturates"
    (tmp_path / "fp32.onnx").write_bytes(data)
    (tmp_path / "int8.onnx").write_bytes(small)
    both = [predictions.logits(tmp_path / name, test.frames, SPEC) for name in ("fp32.onnx", "int8.onnx")]
    assert (both[0].argmax(axis=1) == both[1].argmax(axis=1)).mean() > 0.97
    with pytest.raises(InputError, match="too few"):
        quantise(data, test.frames[:3], SPEC)


def answers(count: int, seed: int, *, quality: float = 2.5) -> Answers:
    """A student whose margin tells how likely it is wrong, and an expert that is right 98 times in 100."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    student = random.normal(0, 1.0, (count, 4))
    student[np.arange(count), labels] += quality * random.random(count) * 2
    expert = np.zeros((count, 4))
    expert[np.arange(count), np.where(random.random(count) < 0.98, labels, (labels + 1) % 4)] = 5.0
    units = tuple(f"unit-{seed}-{index // 2}" for index in range(count))
    return Answers(student=student.astype(np.float32), expert=expert.astype(np.float32), labels=labels, units=units)


@pytest.mark.parametrize("quality", [2.0, 3.0, 5.0, 9.0])
def test_the_threshold_defers_a_bounded_share_and_the_card_states_an_exact_bound(quality: float) -> None:
    fit, test = answers(3000, 1, quality=quality), answers(3000, 2, quality=quality)
    found = calibrate.calibration(fit, test)
    assert 0.02 <= calibrate.system(test, found.threshold).deferred_share <= 0.2
    assert found.units == 1500
    drawn = calibrate.one_per_unit(test.units)
    scores = calibrate.SCORES["margin"](test.student)[drawn]
    errors = int((test.missed[drawn] & (scores >= found.threshold)).sum())
    assert found.risk_bound == risk.bound(errors, 1500, 0.05)
    kept = calibrate.SCORES["margin"](test.student) >= found.threshold
    assert (kept & test.missed).mean() <= found.risk_bound


def test_the_bound_holds_in_nineteen_of_twenty_draws() -> None:
    """The true risk at the chosen threshold, from a very large draw, against the bound of a small one."""
    world = answers(100_000, 999)
    threshold, epsilon = calibrate.choose(answers(2000, 1), delta=0.05)
    true = (world.missed & (calibrate.SCORES["margin"](world.student) >= threshold)).mean()
    bounds = [calibrate.bounded(threshold, epsilon, answers(800, 10 + seed)).risk_bound for seed in range(100)]
    broken = sum(true > bound for bound in bounds)
    assert broken <= 11, "5 expected; 11 or more would happen once in 100 runs"


def test_the_curve_starts_at_the_student_and_defers_ever_more() -> None:
    test = answers(2000, 3)
    points = calibrate.curve(test)
    reached = calibrate.system(test, points[0].threshold)
    assert points[0].deferred_share == 0.0
    assert points[0].system_accuracy == reached.student_accuracy
    shares = [one.deferred_share for one in points]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.5, abs=0.01)
    assert points[-1].system_accuracy > reached.student_accuracy


def counts(*pairs: tuple[int, int]) -> gates.Counts:
    return gates.Counts(cases=tuple(cases for cases, _ in pairs), right=tuple(right for _, right in pairs))


def test_the_gates_pass_what_is_as_good_and_refuse_what_lost_a_class() -> None:
    current = gates.pooled([counts((100, 90), (100, 80)), counts((50, 45), (0, 0), (30, 30))])
    assert current == counts((150, 135), (100, 80), (30, 30))
    assert current.accuracy == pytest.approx(245 / 280)
    passed = gates.on_cases(counts((150, 133), (100, 84), (30, 30)), current, largest_drop=0.02)
    assert [one.name for one in passed] == ["cases_accuracy", "cases_worst_class_drop"]
    assert all(one.passed for one in passed)
    lost = gates.on_cases(counts((150, 145), (100, 80), (30, 20)), current, largest_drop=0.02)
    assert [one.passed for one in lost] == [True, False], "right as often, but one class lost a third"
    assert not gates.on_cases(counts((150, 120), (100, 70), (30, 29)), current, largest_drop=0.02)[0].passed
    assert gates.on_cases(counts(), counts(), largest_drop=0.02) == ()
    assert gates.pooled([]).accuracy == 0.0
    assert not gates.on_seed_set(0.87, 0.90, largest_drop=0.02).passed
    assert gates.on_seed_set(0.885, 0.90, largest_drop=0.02).passed
    assert not gates.on_quantisation(0.95, 0.92).passed


def test_one_changed_answer_of_few_is_no_evidence_and_many_are() -> None:
    one = gates.on_cases(counts((42, 40)), counts((42, 41)), largest_drop=0.02, changes=[0] * 30 + [-1])
    assert one[0].passed, "one of 42 cases lost is a drop of 0.024, and noise"
    many = gates.on_cases(counts((42, 33)), counts((42, 41)), largest_drop=0.02, changes=[0] * 23 + [-1] * 8)
    assert not many[0].passed, "eight of 42 cases lost are no noise"
    large = gates.on_cases(counts((4000, 3800)), counts((4000, 3920)), largest_drop=0.02, changes=[0] * 1880 + [-1] * 120)
    assert not large[0].passed, "with many cases a drop of 0.03 is worse than 0.02 beyond doubt"


def test_people_are_a_gate_of_their_own() -> None:
    assert gates.on_human_cases(counts(), counts(), largest_drop=0.02, changes=[]) == ()
    better = gates.on_human_cases(counts((40, 38)), counts((40, 36)), largest_drop=0.02, changes=[1, 1] + [0] * 38)
    assert [check.name for check in better] == ["human_cases_accuracy"]
    assert better[0].passed
    assert gates.on_human_cases(counts((2, 1)), counts((2, 2)), largest_drop=0.02, changes=[-1, 0])[0].passed  # one answer is no evidence
    assert not gates.on_human_cases(counts((60, 44)), counts((60, 56)), largest_drop=0.02, changes=[-1] * 12 + [0] * 48)[0].passed
    assert not gates.on_human_cases(counts((12, 0)), counts((12, 12)), largest_drop=0.02, changes=[-1] * 12)[0].passed


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60))
def test_the_paired_error_is_that_of_a_sum_over_units(changes: list[int]) -> None:
    cases = 4 * len(changes)
    assert gates.paired_error(changes, cases) == pytest.approx(float(np.std(changes)) * len(changes) ** 0.5 / cases)


def test_the_self_test_holds_sure_pictures_of_different_classes() -> None:
    test = colours(60, SIDE, 7)
    logits = np.random.default_rng(0).normal(0, 1, (60, 3)).astype(np.float32)
    logits[np.arange(50), test.labels[:50]] += 5
    picked = chosen(test.labels, logits)
    assert len(set(picked)) == 4
    assert set(test.labels[picked[:3]].tolist()) == {0, 1, 2}
    made = self_test(test.frames, test.labels, logits)
    assert np.array_equal(made.frames(), test.frames[picked])
    assert made.tolerance > 0
    wrong = np.full((60, 3), 0.0, np.float32)
    wrong[np.arange(60), (test.labels + 1) % 3] = 1.0
    assert len(chosen(test.labels, wrong)) == 4, "also a model that is always wrong gets a self-test"


def test_the_smallest_picture_that_costs_nothing_comes_first() -> None:
    points = [
        QualityPoint(codec="webp", quality=quality, bytes_mean=size, expert_accuracy=accuracy)
        for quality, size, accuracy in [(50, 100.0, 0.90), (65, 150.0, 0.968), (80, 200.0, 0.97), (90, 300.0, 0.96)]
    ]
    assert [one.quality for one in measure.preferred_first(points, 0.97)] == [65, 50, 80, 90]
    assert measure.preferred_first(points, 1.0)[0].quality == 80, "when all cost something, the best"


def test_distillation_heals_weights_that_regions_pulled_apart_and_repeats_itself(taught: nn.Module, tmp_path: Path) -> None:
    pictures = load(splits(tmp_path) / "seed.npz")
    (tmp_path / "expert.onnx").write_bytes(to_onnx(taught, side=SIDE))
    weights = arrays.to_arrays(taught)
    pulled = {name: value * (3.0 if name.endswith("running_var") else 1.0) for name, value in weights.items()}
    pulled = {name: value + (0.2 if name.endswith("running_mean") else 0.0) for name, value in pulled.items()}
    tuned, figures = distil(pulled, tmp_path / "expert.onnx", pictures, steps=30, seed=3)
    again, _ = distil(pulled, tmp_path / "expert.onnx", pictures, steps=30, seed=3)
    assert all(np.array_equal(tuned[name], again[name]) for name in tuned)
    assert figures["seed_accuracy"] > 0.95 > figures["seed_accuracy_before"], figures
    same, untouched = distil(weights, None, pictures, steps=0)
    assert all(np.array_equal(same[name], weights[name]) for name in weights)
    assert untouched["seed_accuracy"] == untouched["seed_accuracy_before"]
    assert np.allclose(with_expert(pictures, tmp_path / "expert.onnx").logits, predict(taught, pictures.frames), atol=1e-4)
    with pytest.raises(FederationError):
        student_model({}, classes=3, side=SIDE)


def test_a_build_writes_both_releases_once_and_can_be_inspected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRACE_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    done = build.build("mine", tmp_path / "out", say=said.append, plan=TINY, prepared=splits(tmp_path / "data"))
    figures = done.student.lineage.figures
    assert figures["student_int8_accuracy"] > 0.9
    assert figures["expert_accuracy"] > 0.9
    assert abs(figures["int8_accuracy_drop"]) < 0.05
    assert figures["system_minus_expert"] == figures["system_accuracy"] - figures["expert_accuracy"]
    for family in ("student", "expert"):
        card = decode_card((tmp_path / "out" / family / "000001.card.json").read_bytes())
        engine = OnnxEngine(tmp_path / "out" / family / "000001.onnx")
        found = engine.run(prepare(card.self_test.frames(), card.input))
        assert np.abs(found - np.array(card.self_test.logits)).max() <= card.self_test.tolerance
        assert card.labels == ("r", "g", "b")
    assert done.student.calibration is not None
    assert any(line.startswith("expert: step") for line in said)
    said.clear()
    build.build("mine", tmp_path / "out", say=said.append, plan=TINY, prepared=tmp_path / "data")
    assert said[:3] == [f"{name}: kept from an earlier build" for name in ("expert", "student", "int8")]
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "system_minus_expert" in result.output
    count = write_replay(tmp_path / "data" / "seed.npz", tmp_path / "out" / "expert" / "000001.onnx", tmp_path / "replay.npz", most=100)
    with np.load(tmp_path / "replay.npz", allow_pickle=False) as archive:
        assert archive["logits"].shape == (count, 3) == (100, 3)
    (tmp_path / "out" / "student" / "000001.onnx").write_bytes(b"other")
    assert isinstance(CliRunner().invoke(app, ["inspect", str(tmp_path / "out")]).exception, TrustError)


def test_a_stopped_step_leaves_nothing_and_is_made_again(tmp_path: Path) -> None:
    bench = Workbench(tmp_path / "bench", lambda _: None)

    def stopped(folder: Path) -> None:
        (folder / "half").write_text("half", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.step("one", b"key", stopped)
    assert list((tmp_path / "bench").iterdir()) == []
    made = bench.step("one", b"key", lambda folder: (folder / "whole").touch())
    assert bench.step("one", b"key", stopped) == made
    assert bench.step("one", b"other", lambda _: None) != made


def test_an_unusable_data_set_says_why_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "TERRACE_CACHE": str(tmp_path), "TERRACE_DATA": str(tmp_path)}
    code = "from cloud.foundry import build; from pathlib import Path; build.build('deeppcb', Path('out'), say=lambda _: None)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "InputError" in done.stderr
    assert "TERRACE_DATA" in done.stderr
    np.savez(tmp_path / "bad.npz", frames=np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "bad.npz")


def test_the_cache_names_a_folder_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRACE_CACHE", str(tmp_path / "cache"))
    assert built("deeppcb") == tmp_path / "cache" / "models" / "deeppcb"
    (tmp_path / "mine").mkdir()
    before = built(str(tmp_path / "mine"))
    (tmp_path / "mine" / "a.png").write_bytes(b"a")
    assert built(str(tmp_path / "mine")) != before
    assert listing(tmp_path / "absent") == listing(tmp_path / "nowhere")


def test_a_round_is_tuned_on_the_seed_set_only_where_it_forgot(taught: nn.Module, tmp_path: Path) -> None:
    models = tmp_path / "state" / "models"
    models.mkdir(parents=True)
    splits(models)
    rules = FoundrySection(distil_steps=60)
    workshop = Workshop(SimpleNamespace(models=models, foundry=rules))  # type: ignore[arg-type]  # what of the settings it reads
    weights = arrays.to_arrays(taught)
    current = SimpleNamespace(arrays=weights)
    learned = {name: value * np.float32(1.001) for name, value in weights.items()}
    kept, figures = workshop.distil(learned, current, seed=1)  # type: ignore[arg-type]
    assert figures["distil_steps"] == 0
    assert all(np.array_equal(kept[name], learned[name]) for name in learned)
    pulled = {name: value + (0.2 if name.endswith("running_mean") else 0.0) for name, value in weights.items()}
    healed, figures = workshop.distil(pulled, current, seed=1)  # type: ignore[arg-type]
    assert 0 < figures["distil_steps"] <= 60
    assert figures["seed_accuracy"] > figures["seed_accuracy_before"]
    assert any(not np.array_equal(healed[name], pulled[name]) for name in pulled)
