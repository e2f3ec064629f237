"""What users export: graphs of many forms get the one form that devices run, and say the same as before; others are refused in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cloud.ownmodel import anatomy, fitting, inlining, modelfile
from cloud.ownmodel.normalisation import KNOWN, named
from cloud.ownmodel.surgery import Wanted
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, InputError, TerraceError
from shared.release.card import InputSpec
from shared.vision.preprocess import prepare
from tests.unit.own_models import IMAGENET, SIDE, classifier, squares

PIXELS = squares(40, 3)


def answers(path: Path, normalise: str = "unit") -> Any:
    found = named(normalise)
    engine = OnnxEngine(path)
    return engine.run(prepare(PIXELS.frames, InputSpec(width=SIDE, height=SIDE, mean=found.mean, std=found.std)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("plain")
    classifier(folder / "given.onnx")
    fitting.fit(folder / "given.onnx", Wanted(), folder / "fitted.onnx")
    return answers(folder / "fitted.onnx")


def nhwc(path: Path) -> Path:
    """Turn the input of a model round, as TensorFlow's exporters leave it."""
    model = onnx.load(str(path))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", SIDE, SIDE, 3]))
    model.graph.node[0].input[0] = "turned"
    model.graph.node.insert(0, helper.make_node("Transpose", ["images"], ["turned"], perm=[0, 3, 1, 2]))
    onnx.save_model(model, str(path))
    return path


def beside(path: Path) -> Path:
    """Put the weights into a file beside the model, as large ones have them."""
    onnx.save_model(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


FORMS: dict[str, tuple[Callable[[Path], Path], Wanted, str, str]] = {
    "softmax": (lambda path: classifier(path, end="Softmax"), Wanted(), "unit", "took the last Softmax off"),
    "one batch": (lambda path: classifier(path, shape=(1, 3, SIDE, SIDE)), Wanted(), "unit", "freed the batch"),
    "bgr": (lambda path: classifier(path, bgr=True), Wanted(bgr=True), "unit", "turns RGB into BGR"),
    "free sides": (lambda path: classifier(path, shape=("n", 3, "h", "w")), Wanted(width=SIDE, height=SIDE), "unit", ""),
    "channels last": (lambda path: nhwc(classifier(path)), Wanted(), "unit", "channels last"),
    "old operators": (lambda path: classifier(path, opset=11), Wanted(), "unit", "operators of version 11"),
    "weights beside": (lambda path: beside(classifier(path)), Wanted(), "unit", ""),
    "imagenet": (lambda path: classifier(path, wants=IMAGENET), Wanted(), "imagenet", ""),
    "0 to 255": (lambda path: classifier(path, wants=((0.0,) * 3, (1 / 255,) * 3)), Wanted(), "raw", ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_one_network_gives_the_same_answers(form: str, plain: Any, tmp_path: Path) -> None:
    make, wanted, normalise, change = FORMS[form]
    found = fitting.fit(make(tmp_path / "given.onnx"), wanted, tmp_path / "fitted.onnx")
    assert (found.width, found.height, found.scores) == (SIDE, SIDE, 3)
    assert change in "; ".join(found.changes)
    assert np.allclose(answers(tmp_path / "fitted.onnx", normalise), plain, atol=2e-3)
    graph = onnx.load(str(tmp_path / "fitted.onnx"))
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}, "folded away"
    assert anatomy.opset(graph) == 17
    assert not anatomy.foreign(graph)


def test_a_single_score_becomes_two_logits(tmp_path: Path) -> None:
    more = [
        helper.make_node("ReduceSum", ["pooled", "axes"], ["sum"]),
        helper.make_node("Flatten", ["sum"], ["only"]),
        helper.make_node("Sigmoid", ["only"], ["scores"]),
    ]
    axes = [numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")]
    classifier(tmp_path / "given.onnx", more=more, weights=axes, outputs=[("scores", ("n", 1))])
    assert fitting.fit(tmp_path / "given.onnx", Wanted(), tmp_path / "fitted.onnx").scores == 2
    said = answers(tmp_path / "fitted.onnx")
    assert not said[:, 0].any()
    assert np.allclose(said[:, 1], PIXELS.frames.astype(np.float64).mean(axis=(1, 2)).sum(axis=1) / 255, atol=1e-3)


def test_scores_with_sides_of_one_are_flattened_and_grey_is_made_of_rgb(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["deep"]), helper.make_node("GlobalMaxPool", ["deep"], ["scores"])],
        "grey",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 4, 1, 1])],
        [numpy_helper.from_array(np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1, 1), "w")],
    )
    (tmp_path / "given.onnx").write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    found = fitting.fit(tmp_path / "given.onnx", Wanted(), tmp_path / "fitted.onnx")
    assert (found.scores, found.changes) == (4, ("makes grey of RGB in front",))
    brightest = (PIXELS.frames @ np.array([0.299, 0.587, 0.114])).max(axis=(1, 2)) / 255
    assert np.allclose(answers(tmp_path / "fitted.onnx"), brightest[:, None] * np.arange(1, 5), atol=1e-4)


def test_one_output_of_several_is_kept_with_what_leads_to_it(tmp_path: Path) -> None:
    more = [helper.make_node("Flatten", ["pooled"], ["left"]), helper.make_node("Neg", ["left"], ["right"])]
    classifier(tmp_path / "given.onnx", more=more, outputs=[("left", ("n", 3)), ("right", ("n", 3))])
    with pytest.raises(EngineError, match="2 of them could be") as caught:
        fitting.fit(tmp_path / "given.onnx", Wanted(), tmp_path / "fitted.onnx")
    assert "--output left" in caught.value.remedy
    fitting.fit(tmp_path / "given.onnx", Wanted(output="left"), tmp_path / "fitted.onnx")
    assert len(onnx.load(str(tmp_path / "fitted.onnx")).graph.node) == 3
    with pytest.raises(InputError, match="has no output 'third'"):
        fitting.fit(tmp_path / "given.onnx", Wanted(output="third"), tmp_path / "fitted.onnx")


def head(*nodes: tuple[str, str, dict[str, int]], dims: tuple[Any, ...] = ("n", 3)) -> Callable[[Path], Path]:
    """A classifier with another head: operator, inputs and attributes of each node; each node's output bears its operator's name."""
    made = [helper.make_node(name, ins.split(), [name], **attributes) for name, ins, attributes in nodes]
    made[-1].output[0] = "scores"
    return lambda path: classifier(path, more=made, outputs=[("scores", dims)])


REFUSED: dict[str, tuple[Callable[[Path], Path], type[TerraceError], str]] = {
    "foreign operators": (
        head(("Flatten", "pooled", {}), ("NonZero", "Flatten", {}), ("Cast", "NonZero", {"to": 1})),
        EngineError,
        "devices refuse: NonZero",
    ),
    "mixes its batch": (
        head(("Flatten", "pooled", {}), ("Softmax", "Flatten", {"axis": 0}), ("Mul", "Softmax Flatten", {})),
        EngineError,
        "depends on the others of its batch",
    ),
    "free sides": (lambda path: classifier(path, shape=("n", 3, "h", "w")), InputError, "height is free"),
    "five channels": (lambda path: classifier(path, shape=("n", 5, SIDE, SIDE)), EngineError, "no pictures of 1 or 3 channels"),
    "a vector": (lambda path: classifier(path, shape=("n", 3)), EngineError, "the model's inputs are images"),
    "a map": (head(("Concat", "same same", {"axis": 1}), dims=("n", 6, SIDE, SIDE)), EngineError, "look like segmentation"),
    "contradicts itself": (lambda path: classifier(path, outputs=[("head", ("n", 3, 1, 1))]), EngineError, "contradict each other"),
    "no model": (lambda path: path.write_bytes(b"\x00\x01 no model") and path, EngineError, "no ONNX model"),
    "no file": (lambda path: path.with_name("absent.onnx"), InputError, "cannot be read"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_said_in_words_with_a_remedy(kind: str, tmp_path: Path) -> None:
    make, error, words = REFUSED[kind]
    with pytest.raises(error, match=words) as caught:
        fitting.fit(make(tmp_path / "given.onnx"), Wanted(), tmp_path / "fitted.onnx")
    assert caught.value.remedy


def test_weights_that_are_missing_beside_a_model_are_named(tmp_path: Path) -> None:
    beside(classifier(tmp_path / "given.onnx"))
    assert [path.name for path in modelfile.parts(tmp_path / "given.onnx")] == ["given.onnx", "weights.bin"]
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match="weights of"):
        modelfile.load(tmp_path / "given.onnx")


@pytest.mark.parametrize("text", ["imagnet", "0.5", "1,2/3", "a/b", "0/0", "nan/1", "0/-1"])
def test_a_normalisation_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        named(text)


def test_a_normalisation_is_a_name_or_figures() -> None:
    assert named("symmetric") is KNOWN["symmetric"]
    assert named("0.1,0.2,0.3/0.5").std == (0.5, 0.5, 0.5)


def functions(*, deep: int, wide: int, closed: bool = False) -> onnx.ModelProto:
    """Return a classifier that ends in functions, each calling the one before so many times; closed, the first calls the last."""
    made = []
    for level in range(deep):
        called = ("f", f"F{(level - 1) % deep}") if level or closed else ("", "Neg")
        steps = [helper.make_node(called[1], [f"t{step}"], [f"t{step + 1}"], domain=called[0]) for step in range(wide)]
        steps.append(helper.make_node("Identity", [f"t{wide}"], ["end"]))
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        made.append(helper.make_function("f", f"F{level}", ["t0"], ["end"], steps, opsets))
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node(f"F{deep - 1}", ["flat"], ["y"], domain="f"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", ["n", 3, 8, 8]), ("y", ["n", 3]))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=opsets, functions=made, ir_version=8)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (functions(deep=9, wide=10), "more than 100000 nodes"),
        (functions(deep=3, wide=1, closed=True), "calls itself"),
        (functions(deep=3000, wide=1), "cannot be written out"),
    ],
)
def test_functions_that_explode_or_never_end_are_refused_before_they_are_written_out(
    tmp_path: Path, model: onnx.ModelProto, says: str
) -> None:
    (tmp_path / "given.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=says):
        modelfile.load(tmp_path / "given.onnx")


def test_functions_are_written_out_and_counted_before(tmp_path: Path) -> None:
    model = functions(deep=3, wide=4)
    (tmp_path / "given.onnx").write_bytes(model.SerializeToString())
    assert len(modelfile.load(tmp_path / "given.onnx").graph.node) == inlining.expanded(model)


@pytest.mark.parametrize(("location", "length"), [("../../../../etc/hostname", 1), ("/etc/hostname", 1), ("w.bin", 1 << 60)])
def test_weights_that_lead_out_of_the_folder_or_say_more_than_there_is_are_refused(tmp_path: Path, location: str, length: int) -> None:
    model = onnx.load(str(classifier(tmp_path / "given.onnx")))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "w.bin").write_bytes(bytes(24))
    (tmp_path / "given.onnx").write_bytes(model.SerializeToString())
    with pytest.raises((EngineError, InputError)):
        fitting.fit(tmp_path / "given.onnx", Wanted(), tmp_path / "fitted.onnx")


def test_an_input_of_gigapixels_is_refused(tmp_path: Path) -> None:
    model = onnx.load(str(classifier(tmp_path / "given.onnx")))
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = 1 << 20
    (tmp_path / "given.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match="1048576 pixels"):
        fitting.fit(tmp_path / "given.onnx", Wanted(), tmp_path / "fitted.onnx")
