"""What a model file may contain before any runtime parses it: operators from an allow-list, nothing outside the file.

A minimal reader of the protocol-buffer wire format (`fields`) walks the ONNX model (field numbers of onnx.proto, ONNX 1.17), so that
a hostile file meets these rules before it meets a runtime written in C++.

Rules, in order:
1. The bytes are a ModelProto with a graph, and no larger than the limit.
2. Every node's domain is the standard one (empty, `ai.onnx`) and its operator is on the list: no custom operators, no control flow.
3. No tensor's data lies outside the file (`data_location` EXTERNAL, or an `external_data` entry), wherever the tensor stands.
4. No functions defined in the model and no training information: they could hide either.
"""

from __future__ import annotations

from shared.engines.fields import fields, message
from shared.errors import EngineError

LARGEST_MODEL_BYTES = 1 << 30
STANDARD_DOMAINS = frozenset({b"", b"ai.onnx"})
OPERATORS = frozenset(  # one string, since a list would have a line per name
    """Abs Add AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose DepthToSpace
    DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
    HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less Log LogSoftmax MatMul Max MaxPool Min
    Mish Mul Neg Not Pad Pow PRelu QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Resize
    Round Shape Sigmoid Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Tanh Tile TopK Transpose Unsqueeze Where
    QLinearConv QLinearMatMul ConvInteger MatMulInteger DynamicQuantizeLinear Selu Sign Sum""".split()  # noqa: SIM905 - see above
)
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 5, 6, 10, 11, 22, 23
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 13, 14


def admit(model: bytes) -> int:
    """Check a model file against the rules.

    Args:
        model: the bytes of the `.onnx` file.

    Returns:
        The number of nodes in its graph.

    Raises:
        EngineError: naming the rule that is broken.
    """
    if len(model) > LARGEST_MODEL_BYTES:
        raise EngineError(f"a model of {len(model)} bytes is larger than {LARGEST_MODEL_BYTES}.")
    graphs = []
    for field, value in fields(memoryview(model)):
        if field in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
            raise EngineError("the model defines functions or training, which a release may not.", "Export it with inlined functions.")
        if field == _MODEL_GRAPH:
            graphs.append(message(value))
    if len(graphs) != 1:
        raise EngineError("the file is no ONNX model.", "Check that it was copied completely.")
    return _check_graph(graphs[0])


def _check_graph(graph: memoryview) -> int:
    nodes = 0
    for field, value in fields(graph):
        if field == _GRAPH_NODE:
            _check_node(message(value))
            nodes += 1
        elif field == _GRAPH_INITIALIZER:
            _check_tensor(message(value))
        elif field == _GRAPH_SPARSE:
            _check_sparse(message(value))
    if not nodes:
        raise EngineError("the model's graph is empty.", "Check that it was copied completely.")
    return nodes


def _check_node(node: memoryview) -> None:
    domain, operator = b"", ""
    for field, value in fields(node):
        if field == _NODE_DOMAIN:
            domain = bytes(message(value))
        elif field == _NODE_OPERATOR:
            operator = bytes(message(value)).decode("utf-8", "replace")
        elif field == _NODE_ATTRIBUTE:
            _check_attribute(message(value))
    if domain not in STANDARD_DOMAINS:
        raise EngineError(f"the operator {operator[:60]} comes from {domain[:60]!r}; custom operators are refused.")
    if operator not in OPERATORS:
        raise EngineError(f"the operator {operator[:60]} is not on the list of operators a release may use.")


def _check_attribute(attribute: memoryview) -> None:
    for field, value in fields(attribute):
        if field in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            raise EngineError("the model has a graph inside a node (control flow), which a release may not.")
        if field in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(message(value))
        elif field in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
            _check_sparse(message(value))


def _check_sparse(sparse: memoryview) -> None:
    for field, value in fields(sparse):
        if field in (1, 2):  # values and indices, both tensors
            _check_tensor(message(value))


def _check_tensor(tensor: memoryview) -> None:
    for field, value in fields(tensor):
        if field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_LOCATION and value != 0):
            raise EngineError("the model keeps data outside its own file, which a release may not.", "Save it as one file.")
