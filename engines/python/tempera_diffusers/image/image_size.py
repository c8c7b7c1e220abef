"""Sizes of images: those that callers name, and those that networks make."""

import math
from typing import Any

from PIL import Image

from ..fields import Fields
from .images import WEBP_SIDE_MAX

# https://fal.ai: ImageSize
IMAGE_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}

SIDE_MIN = 16
SIDE_MAX = 16384

Size = tuple[int, int]
"""Width and height in pixels."""


def read_size(fields: Fields, value: Any, pixels_max: int) -> Size:
    """Reads the name of a preset, or {width, height}, in which a missing side is 512."""
    if isinstance(value, str):
        if value in IMAGE_SIZES:
            return IMAGE_SIZES[value]
        fields.fault(
            ["image_size"],
            f"Input should be {', '.join(map(repr, IMAGE_SIZES))} or an object",
            "literal_error",
        )
        return IMAGE_SIZES["square"]
    if not isinstance(value, dict):
        fields.fault(["image_size"], "Input should be a size's name or {width, height}", "dict_type")
        return IMAGE_SIZES["square"]
    sides = []
    for name in ("width", "height"):
        side = value.get(name, 512)
        if isinstance(side, bool) or not isinstance(side, int) or not SIDE_MIN <= side <= SIDE_MAX:
            message = f"Input should be an integer from {SIDE_MIN} to {SIDE_MAX}"
            fields.fault(["image_size", name], message, "int_type")
            side = 512
        sides.append(side)
    if sides[0] * sides[1] > pixels_max:
        message = f"This model makes images of {pixels_max} pixels at most."
        fields.fault(["image_size"], message, "feature_not_supported")
    return (sides[0], sides[1])


def size_like(image: Image.Image, pixels_max: int) -> Size:
    """Returns the size of an image, made smaller when it has more pixels than may be requested."""
    scale = min(1.0, math.sqrt(pixels_max / (image.width * image.height)))
    width, height = (
        min(max(math.floor(side * scale), SIDE_MIN), WEBP_SIDE_MAX) for side in (image.width, image.height)
    )
    return (width, height)


def covering(size: Size, multiple: int) -> Size:
    """Returns the smallest size of multiples that covers another one."""
    return (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple)
