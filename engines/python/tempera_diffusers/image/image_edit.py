"""
Runs fal's inputs for Qwen-Image-Edit (`fal-ai/qwen-image-edit`, `…-edit/image-to-image`, `…-edit/inpaint`,
`fal-ai/qwen-image-edit-plus`), whose text encoder looks at the image.
"""

from typing import Any

from diffusers import QwenImageEditInpaintPipeline, QwenImageEditPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_inpaint as edit_inpaint
from PIL import Image
from tempera_engine import Fault, InputInvalid, Run

from ..fields import Fields
from ..parameters import Parameters
from ..recipes import Recipes
from ..warm_up import IMAGE, warm_up
from .image_renderer import ImageRenderer
from .image_size import covering, size_like
from .images import fill
from .input_images import changes_nothing, read_mask, read_source, require_one_dtype

PIXELS_INPAINTED = 1024 * 1024
"""About as many pixels has every image that `QwenImageEditInpaintPipeline` makes."""

IMAGES_MAX = 10
"""Most images that are edited together."""


class ImageEdit:
    """
    Edits one image. Without `strength` and `mask_url` the result begins with noise. With one of them it
    begins with the noised image, which `QwenImageEditInpaintPipeline` does, with a mask or with all of the
    image.
    """

    def __init__(self, pipeline: Any, parameters: Parameters, recipes: Recipes) -> None:
        require_one_dtype(pipeline)
        self._parameters = parameters
        self._renderer = ImageRenderer(pipeline, parameters, recipes)
        self._whole = self._renderer.sibling(QwenImageEditPipeline)
        self._noised = self._renderer.sibling(QwenImageEditInpaintPipeline)
        warm_up(self.run, parameters.warmUp, {"image_url": IMAGE})

    def run(self, run: Run) -> dict[str, Any]:
        fields = Fields(run)
        request = self._renderer.read(run, fields)
        image_url, mask_url = fields.value("image_url"), fields.value("mask_url")
        begins_with_image = fields.given("strength") or fields.given("mask_url")
        strength = fields.number("strength", 0.93, 0, 1) if begins_with_image else 1.0
        fields.check()

        image = read_source(run, image_url, "image_url")
        mask = read_mask(run, mask_url, image)
        size = request.size or size_like(image, self._parameters.pixelsMax)
        if changes_nothing(strength, request.steps):
            return self._renderer.write_unchanged(run, request, size, image)
        if not begins_with_image:
            rendered = covering(size, self._renderer.multiple)
            return self._renderer.render(
                run, self._whole, request, size, rendered, image=image, width=rendered[0], height=rendered[1]
            )
        # The pipeline chooses the size by the shape of the image alone.
        width, height, _ = edit_inpaint.calculate_dimensions(PIXELS_INPAINTED, size[0] / size[1])
        arguments = {
            "strength": strength,
            "image": fill(image, *size),
            "mask_image": fill(mask, *size) if mask is not None else Image.new("L", size, 255),
        }
        return self._renderer.render(run, self._noised, request, size, (width, height), **arguments)


class ImageEditPlus:
    """Edits several images together, with `QwenImageEditPlusPipeline`. The result is as large as the last."""

    def __init__(self, pipeline: Any, parameters: Parameters, recipes: Recipes) -> None:
        require_one_dtype(pipeline)
        self._pipeline = pipeline
        self._parameters = parameters
        self._renderer = ImageRenderer(pipeline, parameters, recipes)
        warm_up(self.run, parameters.warmUp, {"image_urls": [IMAGE]})

    def run(self, run: Run) -> dict[str, Any]:
        fields = Fields(run)
        request = self._renderer.read(run, fields)
        urls = fields.value("image_urls")
        if not isinstance(urls, list) or not 1 <= len(urls) <= IMAGES_MAX:
            message = f"Input should be a list of 1 to {IMAGES_MAX} images"
            fields.fault(["image_urls"], message, "missing" if urls is None else "list_type")
        fields.check()

        images = [_read_one(run, urls, index) for index in range(len(urls))]
        size = request.size or size_like(images[-1], self._parameters.pixelsMax)
        rendered = covering(size, self._renderer.multiple)
        return self._renderer.render(
            run, self._pipeline, request, size, rendered, image=images, width=rendered[0], height=rendered[1]
        )


def _read_one(run: Run, urls: list[Any], index: int) -> Image.Image:
    """Reads one of several images. Its faults name its place in the list."""
    try:
        return read_source(run, urls[index], "image_urls")
    except InputInvalid as invalid:
        raise InputInvalid(
            [Fault([*fault.loc, index], fault.msg, fault.type, fault.ctx) for fault in invalid.faults]
        ) from None
