"""Runs fal's text-to-image input (`fal-ai/qwen-image`) on `QwenImagePipeline`."""

from typing import Any

from diffusers import QwenImagePipeline
from tempera_engine import Run

from ..fields import Fields
from ..parameters import Parameters
from ..recipes import Recipes
from ..warm_up import warm_up
from .image_renderer import ImageRenderer
from .image_size import covering


class TextToImage:
    def __init__(self, pipeline: Any, parameters: Parameters, recipes: Recipes) -> None:
        self._renderer = ImageRenderer(pipeline, parameters, recipes)
        self._pipeline = self._renderer.sibling(QwenImagePipeline)
        warm_up(self.run, parameters.warmUp)

    def run(self, run: Run) -> dict[str, Any]:
        fields = Fields(run)
        request = self._renderer.read(run, fields, "landscape_4_3")
        fields.check()
        size = request.size
        assert size is not None
        rendered = covering(size, self._renderer.multiple)
        self._renderer.tell_of_cuts(run, request)
        return self._renderer.render(
            run, self._pipeline, request, size, rendered, width=rendered[0], height=rendered[1]
        )
