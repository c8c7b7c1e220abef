"""The common part of image endpoints that begin with an image."""

from typing import Any

from PIL import Image
from tempera_engine import Fault, InputInvalid, Run

from .images import read_image


ASPECT_RATIO_MAX = 50
"""Longer side of an image by its shorter one; the text encoders of edits take no longer ones."""


def read_source(run: Run, url: Any, field: str) -> Image.Image:
    """Reads an image to begin with. Raises `InputInvalid` for one that is too narrow for the networks."""
    image = read_image(run.input_file(url), field)
    if max(image.size) > ASPECT_RATIO_MAX * min(image.size):
        message = (
            f"The image has {image.width}x{image.height} pixels; one side may have at most "
            f"{ASPECT_RATIO_MAX} times the pixels of the other."
        )
        raise InputInvalid([Fault([field], message, "value_error")])
    return image


def changes_nothing(strength: float, steps: int) -> bool:
    """Tells whether diffusers takes no step at this strength; its pipelines refuse that."""
    return int(max(steps - min(steps * strength, steps), 0)) >= steps


def read_mask(run: Run, mask_url: Any, image: Image.Image) -> Image.Image | None:
    """Reads a mask, white where the image is painted anew, and stretches it to the size of the image."""
    if mask_url in (None, ""):
        return None
    mask = read_image(run.input_file(mask_url), "mask_url").convert("L")
    return mask if mask.size == image.size else mask.resize(image.size, Image.Resampling.LANCZOS)


def require_one_dtype(pipeline: Any) -> None:
    """Raises a `ValueError` unless the autoencoder takes the type that pipelines give it images in."""
    if pipeline.vae.dtype != pipeline.text_encoder.dtype:
        raise ValueError(
            f"parameters of model.yaml: vaeDtype: {pipeline.vae.dtype} differs from the type of the "
            f"networks, {pipeline.text_encoder.dtype}; with images as input, diffusers needs one type; "
            "leave it out."
        )
