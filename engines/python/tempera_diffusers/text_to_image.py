"""Runs fal's text-to-image input (`fal-ai/qwen-image`) on `QwenImagePipeline`."""

from typing import Any

import torch
from PIL import Image
from tempera_engine import File, Run

from . import noise
from .adapters import Adapters, read_loras
from .denoising import Denoising
from .fields import Fields, no_effect, tell_of_cut
from .parameters import Parameters
from .images import EXTENSIONS, WEBP_SIDE_MAX, to_bytes, write_image
from .preview import draw_preview
from .warm_up import warm_up

# https://fal.ai: ImageSize
IMAGE_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}

STEPS_MIN = 2
"""A single step divides by zero where the last noise level is stretched (`shift_terminal`)."""

PROMPT_TOKENS_MAX = 1024
"""Longest prompt that Qwen-Image's text encoder was trained with; longer ones are cut."""


class TextToImage:
    def __init__(self, pipeline: Any, parameters: Parameters) -> None:
        self._pipeline = pipeline
        self._parameters = parameters
        self._adapters = Adapters(pipeline, parameters.lorasKept)
        # Two by two latents form a token.
        self._multiple = pipeline.vae_scale_factor * 2
        warm_up(self.run, parameters.warmUp)

    def run(self, run: Run) -> dict[str, Any]:
        fields = Fields(run)
        prompt = fields.text("prompt")
        negative = fields.text("negative_prompt", " ")
        width, height = self._read_size(fields, fields.value("image_size", "landscape_4_3"))
        steps = fields.integer("num_inference_steps", 30, STEPS_MIN, 1000)
        guidance = fields.number("guidance_scale", 2.5, 0, 100)
        count = fields.integer("num_images", 1, 1, 4)
        seed = fields.seed()
        format = fields.choice("output_format", "png", list(EXTENSIONS))
        if format == "webp" and max(width, height) > WEBP_SIDE_MAX:
            message = f"WebP images have sides of {WEBP_SIDE_MAX} pixels at most; ask for png."
            fields.fault(["image_size"], message, "feature_not_supported")
        turbo = fields.flag("use_turbo", False)
        if turbo:
            steps, guidance = int(self._parameters.turbo["steps"]), self._parameters.turbo["guidanceScale"]
        loras = read_loras(fields, run, self._pipeline)
        acceleration = fields.choice("acceleration", "none", ["none", "regular", "high"])
        checks = fields.flag("enable_safety_checker", True)
        fields.check()

        # The rendered size covers the requested one.
        rendered = (_up_to(width, self._multiple), _up_to(height, self._multiple))
        if rendered != (width, height):
            run.log("INFO", f"Rendered at {rendered[0]}x{rendered[1]}, scaled to {width}x{height}.")
        if turbo:
            run.log(
                "INFO",
                f"`use_turbo` selects {steps} steps at a guidance of {guidance}; "
                f"{no_effect('num_inference_steps', 'guidance_scale')}.",
            )
        if acceleration != "none":
            run.log("INFO", f"This engine computes every step; {no_effect('acceleration')}.")
        if checks:
            run.log(
                "INFO",
                f"This engine has no safety checker; {no_effect('enable_safety_checker')}, "
                "and has_nsfw_concepts is always false.",
            )
        if guidance <= 1 and negative.strip():
            run.log("INFO", f"A guidance of {guidance} is none; {no_effect('negative_prompt')}.")
        for name, text in (("prompt", prompt), ("negative_prompt", negative if guidance > 1 else "")):
            tell_of_cut(run, name, self._count_tokens(text), PROMPT_TOKENS_MAX)

        scheduler = type(self._pipeline.scheduler).from_config(self._pipeline.scheduler.config)

        def draw(packed: torch.Tensor) -> tuple[str, bytes]:
            vae = self._pipeline.vae
            return draw_preview(
                vae,
                self._pipeline._unpack_latents(
                    packed, rendered[1], rendered[0], self._pipeline.vae_scale_factor
                ),
            )

        # With offloading, the decoder and the working network would move each other off the device at each
        # preview.
        draw_or_none = draw if self._parameters.offload == "none" else None
        try:
            with self._adapters.active(run, loras):
                pixels = self._pipeline(
                    prompt=prompt,
                    # Guidance of 1 is the conditional prediction itself: without a negative prompt the second
                    # pass is skipped.
                    negative_prompt=negative if guidance > 1 else None,
                    true_cfg_scale=guidance,
                    width=rendered[0],
                    height=rendered[1],
                    num_inference_steps=steps,
                    num_images_per_prompt=count,
                    # Image i is what seed + i alone gives.
                    generator=[noise.generator(seed + i) for i in range(count)],
                    max_sequence_length=PROMPT_TOKENS_MAX,
                    output_type="np",
                    **Denoising(run, self._pipeline, scheduler, draw_or_none).arguments,
                ).images
        finally:
            # An interrupted call leaves a network on the device.
            self._pipeline.maybe_free_model_hooks()

        images = []
        for i, values in enumerate(pixels):
            run.check()
            image = Image.fromarray(to_bytes(values))
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.LANCZOS)
            name = f"{seed + i}.{EXTENSIONS[format]}"
            file = File(f"image/{format}", name, width=width, height=height)
            images.append(
                {**run.artifact(file, write_image(image, format)), "width": width, "height": height}
            )
        return {
            "images": images,
            "timings": {"inference": round(run.seconds, 3)},
            "seed": seed,
            "has_nsfw_concepts": [False] * count,
            "prompt": prompt,
        }

    def _count_tokens(self, prompt: str) -> int:
        """Counts as the pipeline does: the frame that it puts around the prompt, less its beginning."""
        text = self._pipeline.prompt_template_encode.format(prompt)
        tokens = self._pipeline.tokenizer(text, verbose=False).input_ids
        return len(tokens) - int(self._pipeline.prompt_template_encode_start_idx)

    def _read_size(self, fields: Fields, value: Any) -> tuple[int, int]:
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
            if isinstance(side, bool) or not isinstance(side, int) or not 16 <= side <= 16384:
                fields.fault(["image_size", name], "Input should be an integer from 16 to 16384", "int_type")
                side = 512
            sides.append(side)
        if sides[0] * sides[1] > self._parameters.pixelsMax:
            message = f"This model makes images of {self._parameters.pixelsMax} pixels at most."
            fields.fault(["image_size"], message, "feature_not_supported")
        return (sides[0], sides[1])


def _up_to(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
