"""The part of an input that all of fal's image endpoints have in common."""

import re
from dataclasses import dataclass

from tempera_engine import Run

from ..adapters import Lora
from ..fields import Fields, no_effect
from ..parameters import Parameters
from ..recipes import Recipe, Recipes
from .image_size import Size, read_size
from .images import EXTENSIONS, WEBP_SIDE_MAX

STEPS_MIN = 2
"""A single step divides by zero where the last noise level is stretched (`shift_terminal`)."""


CONTROL_TOKEN = re.compile(r"<\|\w{1,40}\|>")
"""The encoder would take such a part of a prompt for its own, and look for an image, for example."""


@dataclass(frozen=True)
class ImageRequest:
    prompt: str
    negative: str
    size: Size | None
    """None: that of the input image."""
    steps: int
    guidance: float
    count: int
    seed: int
    """Of the first image; each further one has the next seed."""
    format: str
    """A key of `EXTENSIONS`."""
    remarks: list[str]
    """Sentences for the caller about fields that have no effect."""
    recipe: Recipe
    loras: list[Lora]
    checks: bool
    """The caller wants the images to be checked."""

    @staticmethod
    def read(
        fields: Fields,
        parameters: Parameters,
        recipes: Recipes,
        loras: list[Lora],
        default_size: str | None,
    ) -> "ImageRequest":
        """Reads the fields. Call `fields.check()` before the request is used."""
        prompt = fields.text("prompt")
        negative = fields.text("negative_prompt", " ")
        for name, text in (("prompt", prompt), ("negative_prompt", negative)):
            if CONTROL_TOKEN.search(text):
                message = "Input should have no control tokens of the text encoder, such as <|image_pad|>"
                fields.fault([name], message, "value_error")
        value = fields.value("image_size", default_size)
        follows_image = value is None and default_size is None
        size = None if follows_image else read_size(fields, value, parameters.pixelsMax)
        steps = fields.integer("num_inference_steps", 30, STEPS_MIN, 1000)
        guidance = fields.number("guidance_scale", 2.5, 0, 100)
        count = fields.integer("num_images", 1, 1, 4)
        seed = fields.seed()
        format = fields.choice("output_format", "png", list(EXTENSIONS))
        if format == "webp" and size is not None and max(size) > WEBP_SIDE_MAX:
            message = f"WebP images have sides of {WEBP_SIDE_MAX} pixels at most; ask for png."
            fields.fault(["image_size"], message, "feature_not_supported")
        checks = fields.flag("enable_safety_checker", True)
        recipe, remarks = recipes.choose(fields, ["none", "regular", "high"])
        steps = recipe.steps or steps
        guidance = guidance if recipe.guidanceScale is None else recipe.guidanceScale
        if guidance <= 1 and negative.strip():
            remarks.append(f"A guidance of {guidance} is none; {no_effect('negative_prompt')}.")
        return ImageRequest(
            prompt, negative, size, steps, guidance, count, seed, format, remarks, recipe, loras, checks
        )

    @property
    def guided(self) -> bool:
        """A guidance of 1 is the conditional prediction itself: there is no second pass."""
        return self.guidance > 1

    def tell(self, run: Run) -> None:
        for remark in self.remarks:
            run.log("INFO", remark)
