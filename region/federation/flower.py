"""Flower as a region uses it: its environment set before the first import, and its messages as bundles of its own bytes."""

from __future__ import annotations

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from shared.errors import ProtocolError
from shared.wire import bundle

Arrays = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]


def encode(message: Message) -> bytes:
    """Return a message as a bundle of Flower's objects."""
    objects = get_all_nested_objects(message)
    return bundle.pack(message.object_id, [item.deflate() for item in objects.values()])


def decode(data: bytes) -> Message:
    """Read the cloud's message.

    Raises:
        ProtocolError: it is no Flower message.
    """
    root, objects = bundle.unpack(data, limit_bytes=max(len(data), 1))
    try:
        message = inflate_object_from_contents(root, objects)
    except Exception as error:  # noqa: BLE001 - whatever Flower's and protobuf's parsers raise; they share no base
        raise ProtocolError(f"the cloud's task is no Flower message: {error}.") from None
    if not isinstance(message, Message):
        raise ProtocolError(f"the cloud's task is a {type(message).__name__}, not a message.")
    return message


def arrays_of(message: Message) -> Arrays:
    """Return the model a message carries.

    Raises:
        ProtocolError: it carries none, or more than one.
    """
    records = list(message.content.array_records.values())
    if len(records) != 1:
        raise ProtocolError(f"the cloud's task has {len(records)} models, not one.")
    return {name: np.asarray(array.numpy(), np.float32) for name, array in records[0].items()}


def record_of(arrays: Arrays) -> ArrayRecord:
    """Return a model as an ArrayRecord, names in the given order."""
    return ArrayRecord({name: Array(np.array(value, order="C")) for name, value in arrays.items()})
