"""
Runs fal's inputs for Wan (`fal-ai/wan/v2.2-a14b/text-to-video`, `…/image-to-video`, `fal-ai/wan/v2.2-5b/…`) on
`WanPipeline` and `WanImageToVideoPipeline`.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from numpy.typing import NDArray
from PIL import Image
from tempera_engine import File, Run

from . import noise
from .denoising import Denoising
from .fields import Fields
from .parameters import Parameters
from .images import fill, read_image, to_bytes
from .preview import draw_preview
from .video_file import QUALITIES, WRITE_MODES, write_mp4

SHAPES = ["16:9", "9:16", "1:1"]


class WanVideo:
    def __init__(self, pipeline: Any, parameters: Parameters) -> None:
        self._pipeline = pipeline
        self._parameters = parameters
        self._pipelines = _pipelines_by_input(pipeline)
        network = pipeline.transformer if pipeline.transformer is not None else pipeline.transformer_2
        self._multiple = pipeline.vae_scale_factor_spatial * network.config.patch_size[1]
        # `transformer_2` takes over below this noise level.
        self._has_two_experts = pipeline.config.boundary_ratio is not None

    def run(self, run: Run) -> dict[str, Any]:
        fields = Fields(run.input)
        from_image = "image" in self._pipelines and (
            "text" not in self._pipelines or fields.given("image_url")
        )
        pipeline = self._pipelines["image" if from_image else "text"]
        self._refuse_unused_images(fields, from_image)
        prompt = fields.text("prompt")
        negative = fields.text("negative_prompt", "")
        requested = fields.integer("num_frames", 81, 17, 161)
        frames_per_second = fields.integer("frames_per_second", 16, 4, 60)
        resolution = fields.choice(
            "resolution", list(self._parameters.resolutions)[-1], list(self._parameters.resolutions)
        )
        shapes = [*SHAPES, "auto"] if from_image else SHAPES
        shape = fields.choice("aspect_ratio", "auto" if from_image else "16:9", shapes)
        steps = fields.integer("num_inference_steps", 27, 2, 40)
        guidance = fields.number("guidance_scale", 3.5, 1, 10)
        guidance_low = fields.number("guidance_scale_2", 3.5 if from_image else 4.0, 1, 10)
        shift = fields.number("shift", 5, 1, 10)
        seed = fields.seed()
        quality = fields.choice("video_quality", "high", list(QUALITIES))
        write_mode = fields.choice("video_write_mode", "balanced", list(WRITE_MODES))
        between = fields.integer("num_interpolated_frames", 1, 0, 4)
        interpolator = fields.choice("interpolator_model", "film", ["none", "film", "rife"])
        expands = fields.flag("enable_prompt_expansion", False)
        checks = fields.flag("enable_safety_checker", False) or fields.flag(
            "enable_output_safety_checker", False
        )
        fields.unsupported(
            "loras", bool(run.input.get("loras")), "This engine loads no LoRA weights; leave `loras` empty."
        )
        fields.check()

        first, last = self._read_images(run) if from_image else (None, None)
        width, height = self._frame_size(resolution, shape, first)
        # The autoencoder makes one frame, then four at a time: the surplus of the last four is cut off.
        stride = self._pipeline.vae_scale_factor_temporal
        rendered = -(-(requested - 1) // stride) * stride + 1
        if rendered != requested:
            run.log("INFO", f"Rendered {rendered} frames; the video has the first {requested} of them.")
        if interpolator != "none" and between > 0:
            run.log(
                "INFO",
                f"This engine does not interpolate: the video has {requested} frames, "
                f"{frames_per_second} a second.",
            )
        if expands:
            run.log("INFO", "This engine does not expand prompts; the prompt is used as it is.")
        if checks:
            run.log("INFO", "This engine has no safety checker.")

        arguments: dict[str, Any] = {"guidance_scale_2": guidance_low} if self._has_two_experts else {}
        if first is not None:
            arguments["image"] = fill(first, width, height)
        if last is not None:
            arguments["last_image"] = fill(last, width, height)

        def draw(latents: torch.Tensor) -> tuple[str, bytes]:
            return draw_preview(self._pipeline.vae, latents)

        # With offloading, the decoder and the working network would move each other off the device at each
        # preview.
        draw_or_none = draw if self._parameters.offload == "none" else None
        try:
            frames = pipeline(
                prompt=prompt,
                negative_prompt=negative,
                width=width,
                height=height,
                num_frames=rendered,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=noise.generator(seed),
                output_type="np",
                **arguments,
                **Denoising(run, pipeline, self._scheduler(shift), draw_or_none).arguments,
            ).frames[0][:requested]
        finally:
            # An interrupted call leaves a network on the device.
            self._pipeline.maybe_free_model_hooks()

        with TemporaryDirectory(prefix="tempera-video-") as folder:
            path = Path(folder) / "video.mp4"
            write_mp4(
                path,
                _pixels(frames, run),
                frames_per_second=frames_per_second,
                quality=quality,
                write_mode=write_mode,
            )
            video = run.artifact(File("video/mp4", f"{seed}.mp4", width=width, height=height), path)
        return {"video": video, "prompt": prompt, "seed": seed}

    def _refuse_unused_images(self, fields: Fields, from_image: bool) -> None:
        if not from_image:
            message = "This model makes videos from text alone; leave `image_url` out."
            fields.unsupported("image_url", fields.given("image_url"), message)
        # With a noise level for each token, the pipeline has a place for the first frame only.
        if not from_image or self._pipeline.config.expand_timesteps:
            message = "This model takes no last frame; leave `end_image_url` out."
            fields.unsupported("end_image_url", fields.given("end_image_url"), message)

    def _scheduler(self, shift: float) -> Any:
        """
        Makes a scheduler with shifted noise levels. UniPC calls the shift `flow_shift`, flow-match Euler
        `shift`.
        """
        scheduler = self._pipeline.scheduler
        name = "flow_shift" if "flow_shift" in scheduler.config else "shift"
        return type(scheduler).from_config(scheduler.config, **{name: shift})

    def _read_images(self, run: Run) -> tuple[Image.Image, Image.Image | None]:
        first = read_image(run.input_file(run.input.get("image_url")), "image_url")
        end = run.input.get("end_image_url")
        return first, read_image(run.input_file(end), "end_image_url") if end else None

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
