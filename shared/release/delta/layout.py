"""An ONNX file cut in two: the payloads of its large tensors, and the skeleton, which is everything else in order. Pure.

Field numbers are those of onnx.proto. A payload is the `raw_data` or packed `float_data` of an initializer of at least SMALLEST bytes.
The skeleton keeps the length in front of each payload, so that one walk serves both: through a whole file it steps over payloads,
through a skeleton it notes where they belong. So skeleton and payloads make the file again without any map.

    file      = cut[0] payload[0] cut[1] payload[1] … cut[n]
    skeleton  = cut[0] cut[1] … cut[n]
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shared.errors import ProtocolError
from shared.release.delta.source import Source, Window

SMALLEST = 64
"""Shorter payloads stay in the skeleton: a place of their own would cost more than they do."""
LARGEST_SKELETON = 16 << 20
MOST_TENSORS = 1 << 16
_GRAPH, _NODE, _INITIALIZER, _INPUT, _OUTPUT, _OPERATOR = 7, 1, 5, 1, 2, 4
_DIMS, _TYPE, _FLOATS, _NAME, _RAW, _FLOAT32 = 1, 2, 4, 8, 9, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One payload: name, ONNX data type, shape, its length in bytes, and its place in the file and in the skeleton."""

    name: bytes
    kind: int
    dims: tuple[int, ...]
    length: int
    place: int
    cut: int


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """What the graph says of quantisation, by names of initializers.

    `scales`: the scale of each quantised tensor. `products`: the scale of a bias -> the scales of input and weights, whose product it is.
    `small`: the values of float tensors that are too short to be payloads.
    """

    scales: dict[bytes, bytes]
    products: dict[bytes, tuple[bytes, bytes]]
    small: dict[bytes, bytes]


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The skeleton's length, the whole file's, the payloads in order, and what the graph says of them."""

    skeleton_bytes: int
    file_bytes: int
    tensors: tuple[Tensor, ...]
    links: Links


class _Found:
    """What the walk has met so far."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.small: dict[bytes, bytes] = {}
        self.scales: dict[bytes, tuple[bytes, bytes]] = {}
        self.uses: list[list[bytes]] = []

    def links(self) -> Links:
        """Return the links: scales by what they scale, and the scales of biases as products."""
        products = {}
        for inputs in self.uses:
            scales = [self.scales.get(name, (b"", b""))[1] for name in inputs[:3]]
            if len(scales) == 3 and all(scales):
                products[scales[2]] = (scales[0], scales[1])
        return Links(scales=dict(self.scales.values()), products=products, small=self.small)


class _Walk:
    """Where the walk is: `place` in the file, `cut` in the skeleton; `whole` says which of the two is read."""

    def __init__(self, source: Source, *, whole: bool) -> None:
        self.bytes = Window(source)
        self.whole = whole
        self.place = 0
        self.cut = 0

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ProtocolError("the file is no ONNX model.")

    def take(self, length: int) -> bytes:
        if length > LARGEST_SKELETON:
            raise ProtocolError("the model's graph is too large for a delta by tensors.")
        found = self.bytes.read(self.place if self.whole else self.cut, length)
        if len(found) != length:
            raise ProtocolError("the file is no ONNX model, or it is cut short.")
        self.skip(length)
        return found

    def skip(self, length: int) -> None:
        self.place += length
        self.cut += length

    def fields(self, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, kind, and length (bytes) or value (varint) of each field of the message that ends at `end`."""
        while self.place < end:
            key = self.varint()
            kind = key & 7
            size = self.varint() if kind in {_VARINT, _BYTES} else {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
            if size < 0 or (kind != _VARINT and self.place + size > end):
                raise ProtocolError("the file is no ONNX model, or it is cut short.")
            yield key >> 3, kind, size
        if self.place != end:
            raise ProtocolError("the file is no ONNX model.")


def of_file(source: Source) -> Layout:
    """Return the layout of a whole file.

    Raises:
        ProtocolError: it is no ONNX model, or its skeleton is too large.
    """
    return _walked(_Walk(source, whole=True), source.length)


def of_skeleton(source: Source, *, file_bytes: int) -> Layout:
    """Return the layout of the file that a skeleton belongs to.

    Args:
        source: the skeleton.
        file_bytes: the whole file's length.

    Raises:
        ProtocolError: it is no skeleton of a file of that length.
    """
    layout = _walked(_Walk(source, whole=False), file_bytes)
    if layout.skeleton_bytes != source.length:
        raise ProtocolError("the delta's skeleton does not fit its result.")
    return layout


def skeleton_of(source: Source, layout: Layout) -> bytes:
    """Return a file's skeleton."""
    pieces, at = [], 0
    for tensor in layout.tensors:
        pieces.append(source.read(at, tensor.place - at))
        at = tensor.place + tensor.length
    pieces.append(source.read(at, layout.file_bytes - at))
    return b"".join(pieces)


def _walked(walk: _Walk, end: int) -> Layout:
    found = _Found()
    for number, kind, size in walk.fields(end):
        if number == _GRAPH and kind == _BYTES:
            _graph(walk, walk.place + size, found)
        elif kind != _VARINT:
            walk.skip(size)
    return Layout(skeleton_bytes=walk.cut, file_bytes=end, tensors=tuple(found.tensors), links=found.links())


def _graph(walk: _Walk, end: int, found: _Found) -> None:
    for number, kind, size in walk.fields(end):
        if number == _INITIALIZER and kind == _BYTES:
            _tensor(walk, walk.place + size, found)
        elif number == _NODE and kind == _BYTES:
            _node(walk, walk.place + size, found)
        elif kind != _VARINT:
            walk.skip(size)
        if walk.cut > LARGEST_SKELETON or len(found.tensors) > MOST_TENSORS:
            raise ProtocolError("the model's graph is too large for a delta by tensors.")


def _node(walk: _Walk, end: int, found: _Found) -> None:
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    operator = b""
    for number, kind, size in walk.fields(end):
        if kind == _BYTES and number in {_INPUT, _OUTPUT}:
            (inputs if number == _INPUT else outputs).append(walk.take(size))
        elif kind == _BYTES and number == _OPERATOR:
            operator = walk.take(size)
        elif kind != _VARINT:
            walk.skip(size)
    if operator == b"DequantizeLinear" and len(inputs) > 1 and outputs:
        found.scales[outputs[0]] = (inputs[0], inputs[1])
    else:
        found.uses.append(inputs)


class _Initializer:
    """What is met of one initializer; of several payloads (which no exporter writes) the later ones stay in the skeleton."""

    def __init__(self) -> None:
        self.name, self.kind, self.dims, self.small = b"", 0, list[int](), b""
        self.payload: tuple[int, int, int] | None = None

    def number(self, number: int, value: int) -> None:
        if number == _DIMS:
            self.dims.append(value)
        elif number == _TYPE:
            self.kind = value

    def content(self, walk: _Walk, number: int, size: int) -> None:
        if number in {_RAW, _FLOATS} and size >= SMALLEST and self.payload is None:
            self.payload = (walk.place, walk.cut, size)
            walk.place += size
        elif number in {_RAW, _FLOATS}:
            self.small = walk.take(size)
        elif number == _DIMS:
            self.dims += _packed(walk, walk.place + size)
        elif number == _NAME:
            self.name = walk.take(size)
        else:
            walk.skip(size)


def _tensor(walk: _Walk, end: int, found: _Found) -> None:
    met = _Initializer()
    for number, kind, size in walk.fields(end):
        if kind == _VARINT:
            met.number(number, size)
        elif kind == _BYTES:
            met.content(walk, number, size)
        else:
            walk.skip(size)
    if met.payload is not None:
        place, cut, length = met.payload
        found.tensors.append(Tensor(name=met.name, kind=met.kind, dims=tuple(met.dims), place=place, cut=cut, length=length))
    elif met.kind == _FLOAT32 and met.small:
        found.small[met.name] = met.small


def _packed(walk: _Walk, end: int) -> Iterator[int]:
    while walk.place < end:
        yield walk.varint()
