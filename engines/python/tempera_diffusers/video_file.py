"""
Writes MP4: H.264, yuv420p, BT.709, with the index at the front, so that a browser plays it while it loads.
"""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

# Map fal's names to x264's constant rate factor (smaller is better) and preset.
QUALITIES = {"low": "32", "medium": "28", "high": "23", "maximum": "17"}
WRITE_MODES = {"fast": "veryfast", "balanced": "medium", "small": "slow"}

BT709 = 1
"""Number of BT.709 in ITU-T H.273: primaries, transfer characteristics and matrix alike."""


def write_mp4(
    path: Path, frames: Iterable[NDArray[np.uint8]], *, frames_per_second: int, quality: str, write_mode: str
) -> None:
    """
    Writes the frames, each RGB of shape [height, width, 3] with even sides.

    :param quality: a key of `QUALITIES`
    :param write_mode: a key of `WRITE_MODES`
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        stream = None
        for pixels in frames:
            if stream is None:
                stream = _add_stream(file, pixels, frames_per_second, quality, write_mode)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            file.mux(stream.encode(frame))
        if stream is None:
            raise ValueError("A video has at least one frame.")
        file.mux(stream.encode(None))


def _add_stream(
    file: OutputContainer, pixels: NDArray[np.uint8], frames_per_second: int, quality: str, write_mode: str
) -> VideoStream:
    options = {
        "crf": QUALITIES[quality],
        "preset": WRITE_MODES[write_mode],
        "profile": "high",
        # No frame depends on a later one: the video can be cut anywhere, and x264 does not look ahead over
        # frames of both sides, where it reads memory that it never wrote, so that the bytes differ.
        "bf": "0",
    }
    stream = file.add_stream("libx264", rate=frames_per_second, options=options)
    stream.height, stream.width = pixels.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    # A key frame every two seconds, for seeking.
    context.gop_size = frames_per_second * 2
    # Players take an untagged video of this size for BT.709, an untagged smaller one for BT.601.
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return stream
