"""Images of callers, as cameras and scanners write them, and damaged ones."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tempera_diffusers.image.images import read_image
from tempera_engine import InputFile, InputInvalid


def read(folder: Path, image: Image.Image, format: str = "PNG", **options: Any) -> Image.Image:
    out = io.BytesIO()
    image.save(out, format, **options)
    return read_bytes(folder, out.getvalue())


def read_bytes(folder: Path, data: bytes) -> Image.Image:
    path = folder / "image"
    path.write_bytes(data)
    return read_image(InputFile(path, "image/png", len(data), hashlib.sha256(data).hexdigest()), "image_url")


def test_keeps_the_shades_of_16_bit_grey(tmp_path: Path) -> None:
    shades = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    for format in ("PNG", "TIFF"):
        decoded = read(tmp_path, Image.fromarray(shades), format)
        assert decoded.mode == "RGB"
        assert np.array_equal(np.asarray(decoded)[:, :, 0], shades >> 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_shows_transparent_pixels_on_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 4, 8))
    decoded = read(tmp_path, clear.convert(mode))
    assert [decoded.getpixel((0, 0)), decoded.getpixel((7, 0))] == [(0, 0, 0), (255, 255, 255)]


ORIENTATION = 0x0112


def turned(orientation: int) -> bytes:
    """Makes a JPEG of 30 × 10 pixels with a white first corner and an orientation of the camera."""
    image = Image.new("RGB", (30, 10), "red")
    image.paste("white", (0, 0, 3, 3))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x011A] = 72.0
    out = io.BytesIO()
    image.save(out, "JPEG", quality=100, subsampling=0, exif=exif)
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
def test_turns_a_photograph_upright(
    tmp_path: Path, orientation: int, size: tuple[int, int], corner: tuple[int, int]
) -> None:
    decoded = read_bytes(tmp_path, turned(orientation))
    assert decoded.size == size
    assert decoded.getpixel(corner) == (255, 255, 255)


def test_reads_a_photograph_with_invalid_exif_data(tmp_path: Path) -> None:
    """The resolution has a type that no camera should write. Readers ignore it, and so does this one."""
    data = bytearray(turned(6))
    entry = (
        data.index(b"\x01\x1a\x00\x05") if b"\x01\x1a\x00\x05" in data else data.index(b"\x1a\x01\x05\x00")
    )
    for kind in range(14):
        data[entry + 2 : entry + 4] = kind.to_bytes(2, "big" if data[entry] == 1 else "little")
        assert read_bytes(tmp_path, bytes(data)).size == (10, 30)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "AVIF"])
def test_reads_every_supported_format(tmp_path: Path, format: str) -> None:
    assert read(tmp_path, Image.new("RGB", (16, 16), "red"), format).size == (16, 16)


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("HEIC", box(b"ftyp", b"heic\0\0\0\0mif1heic") + b"\xff" * 64),
        ("JPEG XL", b"\xff\x0a\xfa\x1f"),
        ("JPEG 2000", box(b"jP  ", b"\r\n\x87\n")),
        ("PSD", b"8BPS\0\x01\0\0"),
        ("PDF", b"%PDF-1.7\n"),
        ("MP4", box(b"ftyp", b"isom\0\0\x02\0isomavc1")),
        ("SVG", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
    ],
)
def test_names_a_format_that_it_does_not_read(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputInvalid) as raised:
        read_bytes(tmp_path, data)
    (fault,) = raised.value.faults
    assert fault.type == "unsupported_image_format"
    assert name in fault.msg
    assert fault.ctx and ".png" in fault.ctx["supported_formats"]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_calls_a_damaged_file_of_a_supported_format_damaged(tmp_path: Path, format: str) -> None:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(out, format)
    with pytest.raises(InputInvalid) as raised:
        read_bytes(tmp_path, out.getvalue()[:40])
    assert [fault.type for fault in raised.value.faults] == ["image_load_error"]
