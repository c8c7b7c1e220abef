"""What image endpoints have in common that begin with an image."""

from typing import Any

from PIL import Image
from tempera_engine import Run

from .images import read_image


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
