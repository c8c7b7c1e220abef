"""Pictures of strangers: what cameras and scanners write, and what was damaged on the way."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tempera_diffusers.pictures import read_picture
from tempera_engine import InputFile


def read(folder: Path, picture: Image.Image, format: str = "PNG", **options: Any) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return read_bytes(folder, out.getvalue())


def read_bytes(folder: Path, data: bytes) -> Image.Image:
    path = folder / "picture"
    path.write_bytes(data)
    return read_picture(InputFile(path, "image/png", len(data), hashlib.sha256(data).hexdigest()), "image_url")


def test_grey_of_16_bits_keeps_its_shades(tmp_path: Path) -> None:
    shades = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    for format in ("PNG", "TIFF"):
        seen = read(tmp_path, Image.fromarray(shades), format)
        assert seen.mode == "RGB"
        assert np.array_equal(np.asarray(seen)[:, :, 0], shades >> 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_seen_on_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 4, 8))
    seen = read(tmp_path, clear.convert(mode))
    assert [seen.getpixel((0, 0)), seen.getpixel((7, 0))] == [(0, 0, 0), (255, 255, 255)]


ORIENTATION = 0x0112


def turned(orientation: int) -> bytes:
    """A JPEG of 30 × 10 pixels, white in the corner where it begins, whose camera says how it was held."""
    picture = Image.new("RGB", (30, 10), "red")
    picture.paste("white", (0, 0, 3, 3))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x011A] = 72.0
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=100, subsampling=0, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [
        (1, (30, 10), (0, 0)),
        (2, (30, 10), (29, 0)),
        (3, (30, 10), (29, 9)),
        (4, (30, 10), (0, 9)),
        (5, (10, 30), (0, 0)),
        (6, (10, 30), (9, 0)),
        (7, (10, 30), (9, 29)),
        (8, (10, 30), (0, 29)),
        (9, (30, 10), (0, 0)),
    ],
)
def test_a_photograph_stands_upright(tmp_path: Path, orientation: int, size: tuple[int, int], corner: tuple[int, int]) -> None:
    seen = read_bytes(tmp_path, turned(orientation))
    assert seen.size == size
    assert seen.getpixel(corner) == (255, 255, 255)


def test_odd_facts_about_a_photograph_do_not_keep_it_from_being_seen(tmp_path: Path) -> None:
    """The resolution is said in a type that no camera should write: readers pass over it, and so does this one."""
    data = bytearray(turned(6))
    entry = data.index(b"\x01\x1a\x00\x05") if b"\x01\x1a\x00\x05" in data else data.index(b"\x1a\x01\x05\x00")
    for kind in range(14):
        data[entry + 2 : entry + 4] = kind.to_bytes(2, "big" if data[entry] == 1 else "little")
        assert read_bytes(tmp_path, bytes(data)).size == (10, 30)
