"""
Runs fal's image-to-image input (`fal-ai/qwen-image/image-to-image`) on the networks of Qwen-Image: with
`QwenImageImg2ImgPipeline`, and with a mask with `QwenImageInpaintPipeline`.
"""

from typing import Any

from diffusers import QwenImageImg2ImgPipeline, QwenImageInpaintPipeline
from tempera_engine import Run

from ..fields import Fields
from ..parameters import Parameters
from ..recipes import Recipes
from ..warm_up import IMAGE, warm_up
from .image_renderer import ImageRenderer
from .image_size import covering, size_like
from .images import fill
from .input_images import changes_nothing, read_mask, read_source, require_one_dtype


class ImageToImage:
    def __init__(self, pipeline: Any, parameters: Parameters, recipes: Recipes) -> None:
        require_one_dtype(pipeline)
        self._parameters = parameters
        self._renderer = ImageRenderer(pipeline, parameters, recipes)
        self._whole = self._renderer.sibling(QwenImageImg2ImgPipeline)
        self._masked = self._renderer.sibling(QwenImageInpaintPipeline)
        warm_up(self.run, parameters.warmUp, {"image_url": IMAGE})

    def run(self, run: Run) -> dict[str, Any]:
        fields = Fields(run)
        request = self._renderer.read(run, fields)
        strength = fields.number("strength", 0.6, 0, 1)
        image_url, mask_url = fields.value("image_url"), fields.value("mask_url")
        fields.check()

        image = read_source(run, image_url, "image_url")
        mask = read_mask(run, mask_url, image)
        size = request.size or size_like(image, self._parameters.pixelsMax)
        if changes_nothing(strength, request.steps):
            return self._renderer.write_unchanged(run, request, size, image)
        rendered = covering(size, self._renderer.multiple)
        arguments: dict[str, Any] = {
            "width": rendered[0],
            "height": rendered[1],
            "strength": strength,
            # One for each result, so that each is encoded with its own noise.
            "image": [fill(image, *rendered)] * request.count,
        }
        if mask is not None:
            arguments["mask_image"] = fill(mask, *rendered)
        pipeline = self._whole if mask is None else self._masked
        self._renderer.tell_of_cuts(run, request)
        return self._renderer.render(run, pipeline, request, size, rendered, **arguments)
