"""Writes MP4: H.264, yuv420p, with the index at the front, so that a browser plays it while it loads."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

# Map fal's names to x264's constant rate factor (smaller is better) and preset.
QUALITIES = {"low": "32", "medium": "28", "high": "23", "maximum": "17"}
WRITE_MODES = {"fast": "veryfast", "balanced": "medium", "small": "slow"}


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
                options = {"crf": QUALITIES[quality], "preset": WRITE_MODES[write_mode]}
                stream = file.add_stream("libx264", rate=frames_per_second, options=options)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if stream is None:
            raise ValueError("A video has at least one frame.")
        file.mux(stream.encode(None))
