"""Calls a pipeline of Qwen-Image for a request and makes fal's output of what it gives."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from tempera_engine import File, Run

from ..adapters import read_loras
from ..fields import Fields, no_effect, tell_of_cut
from ..parameters import Parameters
from ..recipes import Recipes
from ..safety_check import RunCheck, open_safety_check
from ..sampling import noise
from ..sampling.pipeline_calls import PipelineCalls
from ..sampling.preview import draw_preview
from .image_request import ImageRequest
from .image_size import Size
from .images import EXTENSIONS, fill, to_bytes, write_image

PROMPT_TOKENS_MAX = 1024
"""Longest prompt that Qwen-Image's text encoder was trained with."""


class ImageRenderer:
    """
    :param loaded: the pipeline of the folder; others that are called have the same networks
    """

    def __init__(self, loaded: Any, parameters: Parameters, recipes: Recipes) -> None:
        self._loaded = loaded
        self._parameters = parameters
        self._recipes = recipes
        self._safety = open_safety_check(parameters.safetyThreshold)
        self._calls = PipelineCalls(loaded, parameters, recipes)
        self.multiple = int(loaded.vae_scale_factor) * 2
        """Sides of rendered images are multiples of it: two by two latents form a token."""

    def sibling(self, pipeline_class: Any) -> Any:
        """Returns a pipeline of another class with the same networks."""
        if type(self._loaded) is pipeline_class:
            return self._loaded
        made = pipeline_class(**self._loaded.components)
        made.set_progress_bar_config(disable=True)
        return made

    def read(self, run: Run, fields: Fields, default_size: str | None = None) -> ImageRequest:
        """Reads the fields that all endpoints have. Call `fields.check()` before the request is used."""
        loras = read_loras(fields, run, self._loaded, self._parameters)
        request = ImageRequest.read(fields, self._parameters, self._recipes, loras, default_size)
        if request.checks and self._safety is None:
            request.remarks.append(
                f"This engine has no safety checker; {no_effect('enable_safety_checker')}, "
                "and has_nsfw_concepts is always false."
            )
        return request

    def render(
        self,
        run: Run,
        pipeline: Any,
        request: ImageRequest,
        size: Size,
        rendered: Size,
        **arguments: Any,
    ) -> dict[str, Any]:
        """
        Returns the output, whose images are scaled to `size`.

        :param rendered: the size of what the pipeline makes
        :param arguments: of the pipeline, besides those that the request has
        """
        if rendered != size:
            run.log("INFO", f"Rendered at {rendered[0]}x{rendered[1]}, scaled to {size[0]}x{size[1]}.")
        request.tell(run)
        safety = RunCheck(self._safety, asked=request.checks)

        def draw(packed: torch.Tensor) -> tuple[str, bytes]:
            unpacked = pipeline._unpack_latents(packed, rendered[1], rendered[0], pipeline.vae_scale_factor)
            return safety.preview(draw_preview(pipeline.vae, unpacked))

        with self._calls.prepared(run, pipeline, request.recipe, request.loras, draw):
            pixels = pipeline(
                prompt=request.prompt,
                negative_prompt=request.negative if request.guided else None,
                true_cfg_scale=request.guidance,
                num_inference_steps=request.steps,
                num_images_per_prompt=request.count,
                # Image i is what seed + i alone gives.
                generator=[noise.generator(request.seed + i) for i in range(request.count)],
                max_sequence_length=PROMPT_TOKENS_MAX,
                output_type="np",
                **arguments,
            ).images
        images = [Image.fromarray(to_bytes(values)) for values in pixels]
        return self.write(run, request, size, images)

    def write_unchanged(
        self, run: Run, request: ImageRequest, size: Size, image: Image.Image
    ) -> dict[str, Any]:
        """Gives the caller's own image as the result, for a `strength` at which a pipeline takes no step."""
        request.tell(run)
        run.log(
            "INFO",
            "So small a `strength` leaves the image as it is: "
            "no other field than `image_size` has an effect.",
        )
        return self.write(run, request, size, [fill(image, *size)] * request.count)

    def write(
        self, run: Run, request: ImageRequest, size: Size, images: Sequence[Image.Image]
    ) -> dict[str, Any]:
        """Checks the images, sends them scaled to a size, and returns fal's output."""
        safety = RunCheck(self._safety, asked=request.checks)
        files = []
        unsafe = []
        for i, image in enumerate(images):
            run.check()
            # Scored before it is scaled, as in the other engine.
            shown, is_unsafe = safety.blackened(image)
            unsafe.append(is_unsafe)
            scaled = shown if shown.size == size else shown.resize(size, Image.Resampling.LANCZOS)
            name = f"{request.seed + i}.{EXTENSIONS[request.format]}"
            file = File(f"image/{request.format}", name, width=size[0], height=size[1])
            artifact = run.artifact(file, write_image(scaled, request.format))
            files.append({**artifact, "width": size[0], "height": size[1]})
        if safety.is_active:
            found = f"{sum(unsafe)} of {len(files)} images unsafe; such are black"
            run.log("INFO", f"`enable_safety_checker` found {found}.")
        return {
            "images": files,
            "timings": {"inference": round(run.seconds, 3)},
            "seed": request.seed,
            "has_nsfw_concepts": unsafe,
            "prompt": request.prompt,
        }

    def tell_of_cuts(self, run: Run, request: ImageRequest) -> None:
        """Tells of prompts that pipelines cut, which are those that take no image for the text encoder."""
        negative = request.negative if request.guided else ""
        for name, prompt in (("prompt", request.prompt), ("negative_prompt", negative)):
            # The pipeline puts a frame around the prompt, and drops its beginning.
            text = self._loaded.prompt_template_encode.format(prompt)
            tokens = len(self._loaded.tokenizer(text, verbose=False).input_ids)
            dropped = int(self._loaded.prompt_template_encode_start_idx)
            tell_of_cut(run, name, tokens - dropped, PROMPT_TOKENS_MAX)
