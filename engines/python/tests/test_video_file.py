import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tempera_diffusers.video_file import WRITE_MODES, write_mp4

BT709 = 1
"""Number of BT.709 in ITU-T H.273: primaries, transfer characteristics and matrix alike."""

LIMITED = 1
"""FFmpeg's number of the range 16..235."""


def written(path: Path, frames: list[NDArray[np.uint8]], write_mode: str = "balanced") -> bytes:
    write_mp4(path, iter(frames), frames_per_second=8, quality="high", write_mode=write_mode)
    return path.read_bytes()


def flat(color: tuple[int, int, int]) -> list[NDArray[np.uint8]]:
    return [np.full((48, 64, 3), color, np.uint8) for _ in range(5)]


def bt709_to_rgb(luma: float, blue: float, red: float) -> tuple[float, float, float]:
    """Converts as ITU-R BT.709 defines it, for 8 bits in the limited range."""
    y, b, r = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    values = (y + 1.5748 * r, y - 0.1873 * b - 0.4681 * r, y + 1.8556 * b)
    return (255 * values[0], 255 * values[1], 255 * values[2])


def test_tags_the_video_as_bt709(tmp_path: Path) -> None:
    data = written(tmp_path / "video.mp4", flat((200, 60, 30)))
    with av.open(io.BytesIO(data), "r") as file:
        context = file.streams.video[0].codec_context
        frame = next(file.decode(video=0))
        for tagged in (context, frame):
            tags = (tagged.colorspace, tagged.color_primaries, tagged.color_trc, tagged.color_range)
            assert tags == (BT709, BT709, BT709, LIMITED)
    # The container says so too, for players that do not look into the stream.
    assert b"colrnclx" + bytes([0, BT709, 0, BT709, 0, BT709]) in data


@pytest.mark.parametrize(
    "color", [(200, 60, 30), (30, 60, 200), (60, 200, 30), (255, 255, 255), (0, 0, 0), (255, 0, 0)]
)
def test_shows_the_colours_that_were_made(tmp_path: Path, color: tuple[int, int, int]) -> None:
    data = written(tmp_path / "video.mp4", flat(color))
    with av.open(io.BytesIO(data), "r") as file:
        for frame in file.decode(video=0):
            luma, blue, red = (float(plane.mean()) for plane in planes(frame))
            shown = bt709_to_rgb(luma, blue, red)
            assert max(abs(a - b) for a, b in zip(shown, color, strict=True)) <= 3, shown


def planes(frame: av.VideoFrame) -> Iterator[NDArray[np.uint8]]:
    """Yields luma, blue and red differences of a frame whose format is yuv420p."""
    assert frame.format.name == "yuv420p"
    for plane in frame.planes:
        yield np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


@pytest.mark.parametrize("write_mode", WRITE_MODES)
def test_gives_the_same_frames_the_same_bytes_whatever_the_memory_held_before(
    tmp_path: Path, write_mode: str
) -> None:
    """x264's look ahead over frames of both sides reads memory that it never wrote."""
    random = np.random.default_rng(3)
    blots = Image.fromarray(random.integers(0, 256, (8, 12, 3), np.uint8))
    image = np.asarray(blots.resize((192, 128), Image.Resampling.BICUBIC))
    # It moves, under a little noise that is another one in each frame.
    moved = (image[i : i + 64, 2 * i : 2 * i + 96] for i in range(17))
    frames = [
        (frame + random.normal(0, 10, frame.shape)).clip(0, 255).astype(np.uint8) for frame in moved
    ]
    made = set()
    for seed in range(12):
        fill_freed_memory(seed)
        made.add(written(tmp_path / "video.mp4", frames, write_mode))
    assert len(made) == 1


def fill_freed_memory(seed: int) -> None:
    random = np.random.default_rng(seed)
    blocks = [random.integers(0, 256, size, np.uint8) for size in (100, 3000, 6000, 10_000, 70_000) * 40]
    del blocks


def test_refuses_a_video_without_frames(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        written(tmp_path / "video.mp4", [])
