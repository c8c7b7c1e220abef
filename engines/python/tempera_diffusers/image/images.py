"""Images: reading those of callers, writing those that were made."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features
from tempera_engine import EngineError, Fault, InputFile, InputInvalid

from .foreign_format import foreign_format

PIXELS_MAX = 64 * 1024 * 1024
"""Largest image that is read: 8192 × 8192. Decoded it takes 192 MiB."""

FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "ICO",
    *(("AVIF",) if features.check("avif") else ()),
)

EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
"""Maps the formats that are written, which are the subtypes of `image/…`, to their file name extensions."""

WEBP_SIDE_MAX = 16383

SUPPORTED_FORMATS = [".jpg", ".jpeg", *(f".{format.lower()}" for format in FORMATS if format != "JPEG")]
"""The same as fal names them in `ctx.supported_formats`."""

ORIENTATION = 0x0112
"""EXIF's tag for the orientation of the camera."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""
Maps the orientation to the operation that makes the image upright. `ImageOps.exif_transpose` is not used,
since it also rewrites the EXIF data and fails on unusual data of some cameras.
"""


def read_image(file: InputFile | None, field: str) -> Image.Image:
    """
    Reads an image as RGB, upright, on white where it is transparent. Its size is checked from its header
    before anything is decoded.

    Raises `InputInvalid` (`image_load_error`, `unsupported_image_format`, `image_too_large`) for anything
    else, whatever its media type.
    """
    if file is None:
        raise InputInvalid([Fault([field], "Field required", "missing")])
    try:
        with Image.open(file.path, formats=FORMATS) as source:
            width, height = source.size
            if width * height > PIXELS_MAX:
                raise _too_large(field)
            turn = TURNS.get(source.getexif().get(ORIENTATION, 1))
            image = _on_white(source)
            return image if turn is None else image.transpose(turn)
    except Image.DecompressionBombError:
        raise _too_large(field) from None
    except (OSError, ValueError, SyntaxError, TypeError, struct.error):
        raise _unreadable(field, foreign_format(file.path)) from None


def _unreadable(field: str, foreign: str | None) -> InputInvalid:
    if foreign is None:
        message = "The file is not an image that can be read."
        return InputInvalid([Fault([field], message, "image_load_error")])
    formats = ", ".join(SUPPORTED_FORMATS)
    msg = f"The file is {foreign}, which is not read as an image; send one of {formats}."
    ctx = {"supported_formats": SUPPORTED_FORMATS}
    return InputInvalid([Fault([field], msg, "unsupported_image_format", ctx)])


def _on_white(source: Image.Image) -> Image.Image:
    if source.mode.startswith("I;16"):
        # Pillow would turn every shade into white except for the 256 darkest.
        return Image.fromarray((np.asarray(source) >> 8).astype(np.uint8)).convert("RGB")
    if not source.has_transparency_data:
        return source.convert("RGB")
    clear = source.convert("RGBA")
    image = Image.new("RGB", clear.size, "white")
    image.paste(clear, mask=clear)
    return image


def _too_large(field: str) -> InputInvalid:
    ctx = {"max_width": 8192, "max_height": 8192}
    return InputInvalid(
        [Fault([field], f"The image is too large; the limit is {PIXELS_MAX} pixels.", "image_too_large", ctx)]
    )


def fill(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resizes an image to cover the frame, and crops it evenly on both sides."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def write_image(image: Image.Image, format: str) -> bytes:
    """:param format: a key of `EXTENSIONS`"""
    out = io.BytesIO()
    image.save(out, format=format, **({} if format == "png" else {"quality": 95}))
    return out.getvalue()


def to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """
    Maps 0..1 to 0..255. Raises an error for values that are not numbers, which would be black in the image.
    """
    if not np.isfinite(values).all():
        raise EngineError(
            "runner_server_error",
            "The decoder made pixels that are not numbers; the model may need another dtype.",
        )
    return np.asarray((values * 255).round(), dtype=np.uint8)
