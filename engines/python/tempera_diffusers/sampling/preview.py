"""Previews: a small image of the current latents."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

SIDE_MAX = 256


def draw_preview(vae: Any, latents: torch.Tensor) -> tuple[str, bytes]:
    """
    Draws the first frame of the first result as a JPEG of at most 256 × 256 pixels.

    :param latents: [batch, channels, frames, height, width], as the transformer uses them, with mean 0 and
        variance 1
    """
    first = latents[:1, :, :1].to(vae.device, vae.dtype)
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1).to(first)
    deviation = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1).to(first)
    pixels = vae.decode(first * deviation + mean, return_dict=False)[0][0, :, 0]
    values = pixels.float().add(1).mul(127.5).clamp(0, 255).nan_to_num().permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray(values.round().astype(np.uint8))
    image.thumbnail((SIDE_MAX, SIDE_MAX))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return "image/jpeg", out.getvalue()
