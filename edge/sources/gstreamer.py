"""A GStreamer pipeline as a stream: CSI cameras and hardware decoders that PyAV does not reach.

The only file that imports `gi`, and only when such a stream is opened: it comes with the system (on a Jetson with JetPack), not with
terrace. What arrives is I420; from there on it is the same as any decoded frame. A pipeline that says nothing for `read_s`, ends or
reports an error ends the pass; its stream's thread starts it anew. A pipeline may hold credentials: what GStreamer says is passed on
without user names in addresses and without what stands behind a `=`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import av

from edge.sources.address import shown
from edge.sources.area import Area
from edge.sources.base import LIVE, Shot
from edge.sources.decoded import Developer
from edge.sources.planes import SINK, completed, layout, packed
from shared.errors import DependencyError, InputError

REMEDY = "Try the pipeline with gst-launch-1.0 and `! fakesink` at its end."
NANOSECONDS = 1_000_000_000


class GstreamerSource:
    """Runs a pipeline for as long as it gives pictures.

    Args:
        pipeline: as for `gst-launch-1.0`, without a sink.
        area: the part that is looked at; None for all.
        read_s: seconds a picture may take to come.

    Raises:
        ConfigurationError: the pipeline has a sink of its own.
    """

    def __init__(self, pipeline: str, *, area: Area | None = None, read_s: float = 4.0) -> None:
        self._text = completed(pipeline)
        self._developer = Developer(area)
        self._read_s = read_s
        self._gst: Any = None
        self._pipeline: Any = None

    def open(self) -> int:
        """Start the pipeline; see `Source.open`.

        Raises:
            DependencyError: GStreamer's Python bindings are not installed.
        """
        self.close()
        self._gst = _bindings()
        try:
            self._pipeline = self._gst.parse_launch(self._text)
        except Exception as error:  # noqa: BLE001 - the bindings raise GLib.Error, which only they can name
            raise InputError(f"the pipeline cannot be made: {shown(str(error))}.", REMEDY) from None
        if self._pipeline.set_state(self._gst.State.PLAYING) == self._gst.StateChangeReturn.FAILURE:
            raise self._failed("does not start")
        return LIVE

    def rate(self) -> float:
        """A pipeline sets its own pace; see `Source.rate`."""
        return 0.0

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield what comes; see `Source.shots`."""
        sink, index = self._pipeline.get_by_name(SINK), first
        while True:
            sample = sink.emit("try-pull-sample", int(self._read_s * NANOSECONDS))
            if sample is None:
                raise self._failed("gives no picture")
            yield Shot(index=index, look=self._developer.look(self._frame(sample)))
            index += 1

    def close(self) -> None:
        """Stop the pipeline; see `Source.close`."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.set_state(self._gst.State.NULL)

    def _frame(self, sample: Any) -> Any:
        shape, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
        found = layout(shape.get_value("width"), shape.get_value("height"))
        mapped, info = buffer.map(self._gst.MapFlags.READ)
        if not mapped:
            raise InputError("a picture of the pipeline cannot be read.", REMEDY)
        try:
            return av.VideoFrame.from_ndarray(packed(info.data, found), format="yuv420p")
        except ValueError as error:
            raise InputError(f"{error}.", REMEDY) from None
        finally:
            buffer.unmap(info)

    def _failed(self, what: str) -> InputError:
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        reason = f": {shown(message.parse_error()[0].message.rstrip('.'))}" if message else ""
        return InputError(f"the pipeline {what}{reason}.", REMEDY)


def _bindings() -> Any:
    try:
        gi = importlib.import_module("gi")
        gi.require_version("Gst", "1.0")
        gst = importlib.import_module("gi.repository.Gst")
    except (ImportError, ValueError) as error:
        raise DependencyError(
            f"GStreamer's Python bindings cannot be loaded: {error}.",
            "Install python3-gi and gir1.2-gstreamer-1.0, and make the environment with --system-site-packages.",
        ) from None
    gst.init(None)
    return gst
