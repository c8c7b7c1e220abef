"""
Runs fal's inputs for Wan (`fal-ai/wan/v2.2-a14b/text-to-video`, `…/image-to-video`, `fal-ai/wan/v2.2-5b/…`)
on `WanPipeline` and `WanImageToVideoPipeline`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from numpy.typing import NDArray
from PIL import Image
from tempera_engine import File, Run

from .adapters import Lora, read_loras
from .sampling import noise
from .sampling.pipeline_calls import PipelineCalls
from .fields import Fields, no_effect, tell_of_cut
from .parameters import Parameters
from .recipes import Recipe, Recipes
from .image.images import fill, read_image, to_bytes
from .sampling.preview import draw_preview
from .safety_check import RunCheck, open_safety_check, video_remarks
from .video_file import QUALITIES, WRITE_MODES, write_mp4
from .warm_up import IMAGE, warm_up

SHAPES = ["16:9", "9:16", "1:1"]


PROMPT_TOKENS_MAX = 512
"""Longest prompt that Wan was trained with; longer ones are cut."""


@dataclass(frozen=True)
class _Wanted:
    """A checked input."""

    from_image: bool
    image_url: Any
    end_image_url: Any
    prompt: str
    negative: str
    frames: int
    frames_per_second: int
    resolution: str
    shape: str
    steps: int
    guidance: float
    guidance_low: float
    shift: float
    seed: int
    quality: str
    write_mode: str
    loras: list[Lora]
    recipe: Recipe
    reverses: bool
    """The last frame comes first."""
    checks_input: bool
    checks_output: bool


class WanVideo:
    def __init__(self, pipeline: Any, parameters: Parameters, recipes: Recipes) -> None:
        self._pipeline = pipeline
        self._parameters = parameters
        self._recipes = recipes
        self._calls = PipelineCalls(pipeline, parameters, recipes)
        self._pipelines = _pipelines_by_input(pipeline)
        self._safety = open_safety_check(parameters.safetyThreshold)
        network = pipeline.transformer if pipeline.transformer is not None else pipeline.transformer_2
        self._multiple = pipeline.vae_scale_factor_spatial * network.config.patch_size[1]
        # `transformer_2` takes over below this noise level.
        self._has_two_experts = pipeline.config.boundary_ratio is not None
        for kind in ("text", "image"):
            if kind in self._pipelines:
                image = {"image_url": IMAGE} if kind == "image" else None
                warm_up(self.run, parameters.warmUp, image)

    def run(self, run: Run) -> dict[str, Any]:
        wanted = self._read(run)
        first, last = self._read_images(run, wanted)
        images = {"image_url": first, "end_image_url": last}
        RunCheck(self._safety, asked=wanted.checks_input).refuse_inputs(run, images)
        safety = RunCheck(self._safety, asked=wanted.checks_output)
        width, height = self._frame_size(wanted.resolution, wanted.shape, first)
        frames = self._render(run, wanted, width, height, first, last, safety)
        safety.refuse_video(run, frames)
        if wanted.reverses:
            frames = frames[::-1]
        with TemporaryDirectory(prefix="tempera-video-") as folder:
            path = Path(folder) / "video.mp4"
            write_mp4(
                path,
                _pixels(frames, run),
                frames_per_second=wanted.frames_per_second,
                quality=wanted.quality,
                write_mode=wanted.write_mode,
            )
            file = File("video/mp4", f"{wanted.seed}.mp4", width=width, height=height)
            video = run.artifact(file, path)
        return {"video": video, "prompt": wanted.prompt, "seed": wanted.seed}

    def _read(self, run: Run) -> _Wanted:
        fields = Fields(run)
        from_image = "image" in self._pipelines and (
            "text" not in self._pipelines or fields.given("image_url")
        )
        self._refuse_unused_images(fields, from_image)
        resolutions = list(self._parameters.resolutions)
        recipe, remarks = self._recipes.choose(fields, ["none", "regular"])
        if recipe.sets_shift:
            remarks.append(f"The recipe `{recipe.name}` has its own noise levels; {no_effect('shift')}.")
        steps = fields.integer("num_inference_steps", 27, 2, 40)
        guidance = fields.number("guidance_scale", 3.5, 1, 10)
        guidance_low = fields.number("guidance_scale_2", 3.5 if from_image else 4.0, 1, 10)
        wanted = _Wanted(
            from_image=from_image,
            image_url=fields.value("image_url"),
            end_image_url=fields.value("end_image_url"),
            prompt=fields.text("prompt"),
            negative=fields.text("negative_prompt", ""),
            frames=fields.integer("num_frames", 81, 17, 161),
            frames_per_second=fields.integer("frames_per_second", 16, 4, 60),
            resolution=fields.choice("resolution", resolutions[-1], resolutions),
            shape=fields.choice(
                "aspect_ratio",
                "auto" if from_image else "16:9",
                [*SHAPES, "auto"] if from_image else SHAPES,
            ),
            steps=recipe.steps or steps,
            guidance=guidance if recipe.guidanceScale is None else recipe.guidanceScale,
            guidance_low=guidance_low if recipe.guidanceScale2 is None else recipe.guidanceScale2,
            shift=fields.number("shift", 5, 1, 10),
            seed=fields.seed(),
            quality=fields.choice("video_quality", "high", list(QUALITIES)),
            write_mode=fields.choice("video_write_mode", "balanced", list(WRITE_MODES)),
            loras=read_loras(fields, run, self._pipeline, self._parameters),
            recipe=recipe,
            reverses=fields.flag("reverse_video", False),
            checks_input=fields.flag("enable_safety_checker", False),
            checks_output=fields.flag("enable_output_safety_checker", False),
        )
        remarks += self._read_unsupported(fields, wanted)
        fields.check()
        for message in remarks:
            run.log("INFO", message)
        self._tell_of_prompts(run, wanted)
        return wanted

    def _read_unsupported(self, fields: Fields, wanted: _Wanted) -> list[str]:
        """Reads what this engine leaves out, and returns what the caller should know about it."""
        between = fields.integer("num_interpolated_frames", 1, 0, 4)
        interpolator = fields.choice("interpolator_model", "film", ["none", "film", "rife"])
        fields.flag("adjust_fps_for_interpolation", True)
        expands = fields.flag("enable_prompt_expansion", False)
        messages = []
        if interpolator != "none" and between > 0:
            fields_of_it = ("interpolator_model", "num_interpolated_frames", "adjust_fps_for_interpolation")
            messages.append(
                f"This engine does not interpolate; {no_effect(*fields_of_it)}: the video has "
                f"{wanted.frames} frames, {wanted.frames_per_second} a second."
            )
        if expands:
            messages.append(f"This engine does not expand prompts; {no_effect('enable_prompt_expansion')}.")
        messages += video_remarks(
            self._safety,
            of_input=wanted.checks_input,
            of_output=wanted.checks_output,
            has_image=wanted.from_image,
        )
        if wanted.guidance <= 1:
            # The pipeline decides by `guidance_scale` alone, for both experts.
            unused = ["negative_prompt"] if wanted.negative.strip() else []
            unused += ["guidance_scale_2"] if fields.given("guidance_scale_2") else []
            if unused:
                messages.append(f"A `guidance_scale` of 1 switches guidance off; {no_effect(*unused)}.")
        elif not self._has_two_experts and fields.given("guidance_scale_2"):
            messages.append(f"This model has a single expert; {no_effect('guidance_scale_2')}.")
        return messages

    def _tell_of_prompts(self, run: Run, wanted: _Wanted) -> None:
        negative = wanted.negative if wanted.guidance > 1 else ""
        for name, text in (("prompt", wanted.prompt), ("negative_prompt", negative)):
            tokens = self._pipeline.tokenizer(prompt_clean(text), verbose=False).input_ids
            tell_of_cut(run, name, len(tokens), PROMPT_TOKENS_MAX)

    def _render(
        self,
        run: Run,
        wanted: _Wanted,
        width: int,
        height: int,
        first: Image.Image | None,
        last: Image.Image | None,
        safety: RunCheck,
    ) -> NDArray[np.float32]:
        """Returns frames of shape [frames, height, width, 3], from 0 to 1."""
        pipeline = self._pipelines["image" if wanted.from_image else "text"]
        # The autoencoder makes one frame, then four at a time: the surplus of the last four is cut off.
        stride = self._pipeline.vae_scale_factor_temporal
        rendered = -(-(wanted.frames - 1) // stride) * stride + 1
        if rendered != wanted.frames:
            run.log("INFO", f"Rendered {rendered} frames; the video has the first {wanted.frames} of them.")
        arguments: dict[str, Any] = {}
        if self._has_two_experts:
            arguments["guidance_scale_2"] = wanted.guidance_low
        if first is not None:
            arguments["image"] = fill(first, width, height)
        if last is not None:
            arguments["last_image"] = fill(last, width, height)

        def draw(latents: torch.Tensor) -> tuple[str, bytes]:
            return safety.preview(draw_preview(self._pipeline.vae, latents))

        # UniPC calls the shift of the noise levels `flow_shift`, flow-match Euler `shift`.
        shift = {"flow_shift": wanted.shift, "shift": wanted.shift}
        with self._calls.prepared(run, pipeline, wanted.recipe, wanted.loras, draw, **shift):
            frames: NDArray[np.float32] = pipeline(
                prompt=wanted.prompt,
                negative_prompt=wanted.negative,
                width=width,
                height=height,
                num_frames=rendered,
                num_inference_steps=wanted.steps,
                guidance_scale=wanted.guidance,
                generator=noise.generator(wanted.seed),
                max_sequence_length=PROMPT_TOKENS_MAX,
                output_type="np",
                **arguments,
            ).frames[0]
        return frames[: wanted.frames]

    def _refuse_unused_images(self, fields: Fields, from_image: bool) -> None:
        if not from_image:
            message = "This model makes videos from text alone; leave `image_url` out."
            fields.unsupported("image_url", fields.given("image_url"), message)
        # With a noise level for each token, the pipeline has a place for the first frame only.
        if not from_image or self._pipeline.config.expand_timesteps:
            message = "This model takes no last frame; leave `end_image_url` out."
            fields.unsupported("end_image_url", fields.given("end_image_url"), message)

    def _read_images(self, run: Run, wanted: _Wanted) -> tuple[Image.Image | None, Image.Image | None]:
        if not wanted.from_image:
            return None, None
        first = read_image(run.input_file(wanted.image_url), "image_url")
        if not wanted.end_image_url:
            return first, None
        return first, read_image(run.input_file(wanted.end_image_url), "end_image_url")

    def _frame_size(self, resolution: str, shape: str, image: Image.Image | None) -> tuple[int, int]:
        """
        Returns width and height as multiples of what the networks need. `auto` is the aspect ratio of the
        image.
        """
        long, short = self._parameters.resolutions[resolution]
        if shape == "16:9":
            return self._down(long), self._down(short)
        if shape == "9:16":
            return self._down(short), self._down(long)
        ratio = image.width / image.height if shape == "auto" and image is not None else 1.0
        # Extreme aspect ratios are limited.
        ratio = min(max(ratio, 1 / 4), 4)
        return self._down(math.sqrt(long * short * ratio)), self._down(math.sqrt(long * short / ratio))

    def _down(self, side: float) -> int:
        return max(1, int(side) // self._multiple) * self._multiple


def _pipelines_by_input(loaded: Any) -> dict[str, Any]:
    """
    Returns the pipelines that the loaded one's networks can serve: for `text`, for `image`, or for both.

    Networks with a noise level for each token (`expand_timesteps`, Wan 2.2 TI2V-5B) take a first frame or
    none, and which class `model_index.json` names says only who saved the folder. Both pipelines then have
    the same networks. All others take exactly what their class takes.
    """
    own = "image" if isinstance(loaded, WanImageToVideoPipeline) else "text"
    if not loaded.config.expand_timesteps:
        return {own: loaded}
    parts = {name: part for name, part in loaded.components.items() if not name.startswith("image_")}
    other = (WanPipeline if own == "image" else WanImageToVideoPipeline)(**parts, expand_timesteps=True)
    other.set_progress_bar_config(disable=True)
    return {own: loaded, "text" if own == "image" else "image": other}


def _pixels(frames: NDArray[np.float32], run: Run) -> Iterator[NDArray[np.uint8]]:
    """Converts one frame at a time, so that not all frames are in memory twice."""
    for frame in frames:
        run.check()
        yield to_bytes(frame)
