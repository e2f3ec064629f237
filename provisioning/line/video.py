"""The line's camera as a file: windows as an H.264 stream, and back.

The stream is constant-quality (CRF), so that a decoded window looks like the drawn one to a network; networks are trained on
decoded windows, with the codec's own noise.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from provisioning.line.optics import Pixels
from shared.errors import InputError

CRF = 12
"""x264's constant rate factor: 18 is called visually lossless; lower is better."""
ENCODER = {"preset": "veryfast", "x264-params": "mbtree=0"}
"""Without macroblock-tree rate control: with it, x264's look-ahead gives other bytes from run to run on a busy machine."""


def write(path: Path, frames: Pixels, *, fps: int = 30, crf: int = CRF) -> None:
    """Write frames uint8 (N, H, W, 3) as an H.264 video.

    Raises:
        InputError: the file cannot be written.
    """
    height, width = frames.shape[1:3]
    try:
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf), **ENCODER})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.thread_count = 1
            for pixels in frames:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
            container.mux(stream.encode(None))
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"the video {path} cannot be written: {error}.", "Choose a folder that exists and has room.") from error


def read(path: Path) -> Pixels:
    """Return all frames of a video, uint8 RGB (N, H, W, 3).

    Raises:
        InputError: the file is missing or no video.
    """
    try:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (OSError, av.FFmpegError, IndexError) as error:
        raise InputError(f"the video {path} cannot be read: {error}.", "Give an existing video file.") from error
    if not frames:
        raise InputError(f"the video {path} holds no frame.")
    return np.stack(frames)


def through_codec(frames: Pixels, *, crf: int = CRF) -> Pixels:
    """Return the frames as they look after the camera's codec."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.mp4"
        write(path, frames, crf=crf)
        return read(path)
