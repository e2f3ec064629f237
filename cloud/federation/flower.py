"""Flower as we use it: its environment, its process identity and its bytes. All that depends on flwr's version stands here.

- `FLWR_TELEMETRY_ENABLED` and `FLWR_DISABLE_UPDATE_CHECK` are set before the first import, so Flower calls nobody.
- flwr 1.41 builds a Message only where `TaskIdentity` (a private module) is set; a SuperLink would do that, here we do.
- A message travels as Flower's own objects (`deflate`), each named by its SHA-256, in one bundle (shared.wire.bundle). Reading
  takes only Flower's six record classes, nothing executable; arrays are numpy's own format with `allow_pickle=False`.
"""

from __future__ import annotations

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import json
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, Metadata, RecordDict
from flwr.app.message.message import make_message
from flwr.supercore.constant import HEAD_BODY_DIVIDER
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_head_values_from_object_content
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity

from shared.errors import ProtocolError
from shared.wire import bundle

CLOUD_NODE = 0
AnyArray = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
Arrays = dict[str, AnyArray]


def take_identity(run_id: int) -> None:
    """Say which run this process's messages belong to; needed before the first Message."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = CLOUD_NODE
    TaskIdentity.task_id = run_id


def encode(message: Message) -> bytes:
    """Return a message as a bundle of Flower's objects."""
    objects = get_all_nested_objects(message)
    return bundle.pack(message.object_id, [item.deflate() for item in objects.values()])


def decode(data: bytes, *, limit_bytes: int) -> Message:
    """Read a message from a bundle.

    Raises:
        ProtocolError: it is no Flower message, or too large.
    """
    root, objects = bundle.unpack(data, limit_bytes=limit_bytes)
    try:
        _refuse_swelling(objects, limit_bytes)
        message = inflate_object_from_contents(root, objects)
    except Exception as error:  # noqa: BLE001 - whatever Flower's and protobuf's parsers raise on foreign bytes; they share no base
        raise ProtocolError(f"this is no Flower message: {error}.") from None
    if not isinstance(message, Message):
        raise ProtocolError(f"a bundle holds a {type(message).__name__}, not a message.")
    return message


def _refuse_swelling(objects: dict[str, bytes], limit_bytes: int) -> None:
    """Refuse arrays that name one chunk many times, so that little sent would become much in memory."""
    total = 0
    for content in objects.values():
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind == "Array":
            body = json.loads(content[content.index(HEAD_BODY_DIVIDER) + len(HEAD_BODY_DIVIDER) :])
            total += sum(len(objects[children[index]]) for index in body["arraychunk_ids"])
    if total > limit_bytes:
        raise ProtocolError(f"arrays of {total} bytes are larger than the {limit_bytes} their model allows")


def from_node(message: Message, node: int, sent: Message) -> Message:
    """Return a reply as coming from `node`, in answer to `sent`; what the reply says of itself is dropped."""
    metadata = Metadata(
        run_id=sent.metadata.run_id,
        message_id="",
        src_node_id=node,
        dst_node_id=CLOUD_NODE,
        reply_to_message_id=sent.metadata.message_id,
        group_id=sent.metadata.group_id,
        created_at=message.metadata.created_at,
        ttl=sent.metadata.ttl,
        message_type=sent.metadata.message_type,
    )
    metadata.delivered_at = ""
    if message.has_error():
        return make_message(metadata=metadata, error=message.error)
    return make_message(metadata=metadata, content=message.content)


def error_reply(sent: Message, node: int, reason: str) -> Message:
    """Return the reply that stands for a region that could not answer."""
    return from_node(Message(Error(code=0, reason=reason), reply_to=sent), node, sent)


def arrays_of(content: RecordDict, model: Mapping[str, AnyArray]) -> Arrays:
    """Return the one ArrayRecord of a message as numpy arrays by name.

    Args:
        content: the message's content.
        model: the arrays it must equal in names, shapes and dtypes; told from the headers, before anything is allocated.

    Raises:
        ProtocolError: not exactly one record, foreign names, or an array of another shape or dtype.
    """
    records = list(content.array_records.values())
    if len(records) != 1:
        raise ProtocolError(f"an update has {len(records)} array records, not one.")
    odd = sorted(set(records[0]) ^ set(model))
    if odd:
        raise ProtocolError(f"its array names differ from the model's ({', '.join(odd[:3])})")
    return {name: _array(name, records[0][name], value) for name, value in model.items()}


def _array(name: str, array: Array, expected: AnyArray) -> AnyArray:
    try:
        file = BytesIO(array.data)
        if array.stype != "numpy.ndarray" or np.lib.format.read_magic(file) != (1, 0):
            raise ProtocolError(f"{name} is not in numpy's format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if shape != expected.shape or dtype != expected.dtype:
            raise ProtocolError(f"{name} has shape {shape} and type {dtype}, the model's are {expected.shape} and {expected.dtype}")
        return array.numpy()
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise ProtocolError(f"{name} cannot be read: {error}.") from None


def record_of(arrays: Mapping[str, AnyArray]) -> ArrayRecord:
    """Return numpy arrays as an ArrayRecord."""
    return ArrayRecord({name: Array(np.array(value, order="C")) for name, value in arrays.items()})
