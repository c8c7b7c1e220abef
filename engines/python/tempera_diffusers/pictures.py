"""Pictures: reading what a caller gave, writing what was made."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tempera_engine import EngineError, Fault, InputFile, InputInvalid

PIXELS_MAX = 64 * 1024 * 1024
"""Largest picture that is read: 8192 × 8192. Decoded it takes 192 MiB."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

ORIENTATION = 0x0112
"""EXIF's tag for how the camera was held."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Its value → what sets the picture upright. `ImageOps.exif_transpose` also writes the EXIF data anew, and fails where cameras wrote it oddly."""


def read_picture(file: InputFile | None, field: str) -> Image.Image:
    """
    The picture as it is meant to be seen, RGB, on white where it is transparent. Its size is known from its head before anything is decoded.

    Raises `InputInvalid` (`image_load_error`, `image_too_large`) for what is no picture, whatever it was called.
    """
    if file is None:
        raise InputInvalid([Fault([field], "Field required", "missing")])
    try:
        with Image.open(file.path, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > PIXELS_MAX:
                raise _too_large(field)
            turn = TURNS.get(picture.getexif().get(ORIENTATION, 1))
            seen = _on_white(picture)
            return seen if turn is None else seen.transpose(turn)
    except Image.DecompressionBombError:
        raise _too_large(field) from None
    except (OSError, ValueError, SyntaxError, TypeError, struct.error):
        raise InputInvalid([Fault([field], "The file is not an image that can be read.", "image_load_error")]) from None


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow would take every shade but the 256 darkest for white.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    clear = picture.convert("RGBA")
    seen = Image.new("RGB", clear.size, "white")
    seen.paste(clear, mask=clear)
    return seen


def _too_large(field: str) -> InputInvalid:
    ctx = {"max_width": 8192, "max_height": 8192}
    return InputInvalid([Fault([field], f"The image is too large; {PIXELS_MAX} pixels are read at most.", "image_too_large", ctx)])


def fill(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Resized to cover the frame, and what lies outside it cut off evenly on both sides."""
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)


def write_picture(picture: Image.Image, format: str) -> bytes:
    """:param format: `png` or `jpeg`"""
    out = io.BytesIO()
    picture.save(out, format=format, **({"quality": 95} if format == "jpeg" else {}))
    return out.getvalue()


def to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0..1 → 0..255. What is no number is an error: it would be black in the picture."""
    if not np.isfinite(values).all():
        raise EngineError("runner_server_error", "The decoder made pixels that are no numbers; the model may need another dtype.")
    return np.asarray((values * 255).round(), dtype=np.uint8)
