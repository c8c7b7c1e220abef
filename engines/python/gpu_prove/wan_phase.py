"""Wan 2.2 A14B: a pass at two sizes, decoding, a run of the engine, cancelling, moving an expert."""

import hashlib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from judged import EVERY_STEP, judge
from tempera_diffusers import wan_video
from tempera_diffusers.engine import DiffusersEngine

from .engine import engine_around, measure_cancel
from .networks import DTYPE, billions, wan_text_to_video
from .report import GIB, Report
from .settings import Settings

EXPERT_GB = 28
"""Size of one expert in bfloat16."""


def measure(report: Report, settings: Settings) -> None:
    made: list[Any] = []
    seconds = report.seconds(lambda: made.append(wan_text_to_video(settings)))
    phase = _WanPhase(report, settings, made[0])
    sizes = {"expertB": billions(made[0].transformer), "textB": billions(made[0].text_encoder)}
    report.say("built", seconds=round(seconds, 1), **sizes, **report.memory())
    report.measure("pass", phase.passes, seconds=80)
    report.measure("decode", phase.decode, seconds=40)
    phase.engine = engine_around(phase.pipeline, "wan_video", settings)
    # Frames are counted: the time of the encoder is the processor's.
    with patch.object(wan_video, "write_mp4", _count_frames):
        report.measure("engine run", phase.engine_run, seconds=50)
        report.measure("cancel", phase.cancel, seconds=25)
    report.measure("host to device", phase.host_to_device, seconds=30)


class _WanPhase:
    engine: DiffusersEngine

    def __init__(self, report: Report, settings: Settings, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._report = report
        self._settings = settings
        self._pass = 0.0
        self._asked = {
            "prompt": "a cat",
            "num_frames": settings.frames,
            "resolution": "480p",
            "num_inference_steps": 3,
            "guidance_scale": 1,
            "seed": 1,
            "interpolator_model": "none",
        }

    def passes(self) -> None:
        """One pass of one expert, by size and by implementation of attention."""
        transformer, device = self.pipeline.transformer, self._settings.device
        for name in self._settings.resolutions:
            latents = torch.randn(self._latent_shape(name), device=device, dtype=DTYPE)
            text = torch.randn(1, 512, transformer.config.text_dim, device=device, dtype=DTYPE)
            given = {
                "hidden_states": latents,
                "timestep": torch.full((1,), 500.0, device=device),
                "encoder_hidden_states": text,
                "return_dict": False,
            }
            for backend in ("native", "_native_cudnn"):
                facts = {"resolution": name, "tokens": latents[0, 0].numel() // 4, "backend": backend}
                try:
                    transformer.set_attention_backend(backend)
                    with torch.no_grad():
                        seconds = self._report.median(lambda: transformer(**given), times=1)
                except Exception as error:
                    self._report.say("pass", **facts, refused=str(error)[:160])
                    continue
                if name == "480p" and backend == "native":
                    self._pass = seconds
                self._report.say("pass", **facts, s=round(seconds, 3), **self._report.memory())
            transformer.set_attention_backend("native")

    def decode(self) -> None:
        vae = self.pipeline.vae
        latents = torch.zeros(self._latent_shape("480p"), device=self._settings.device)
        for dtype, tiles in ((torch.float32, False), (DTYPE, False), (DTYPE, True)):
            vae.to(dtype)
            vae.enable_tiling() if tiles else vae.disable_tiling()
            before = self._report.memory().get("allocatedGiB", 0)
            with torch.no_grad():
                seconds = self._report.seconds(lambda: vae.decode(latents.to(dtype), return_dict=False))
            extra = round(self._report.memory().get("peakGiB", 0) - before, 2)
            facts = {"dtype": str(dtype), "tiles": tiles, "extraGiB": extra}
            self._report.say("decode", **facts, s=round(seconds, 2))
        vae.to(torch.float32)
        vae.disable_tiling()

    def engine_run(self) -> None:
        judged: list[Any] = []
        seconds = self._report.seconds(
            lambda: judged.append(judge(self.engine, self._asked, policy=EVERY_STEP))
        )
        ran = judged[0]
        resumed = judge(self.engine, self._asked, checkpoint=ran.checkpoints[1])
        self._report.say(
            "engine run",
            s=round(seconds, 2),
            passesS=round(3 * self._pass, 2),
            frames=int(ran.files[0].split()[0]),
            checkpointBytes=len(ran.checkpoints[1]),
            sameFramesAfterResume=resumed.digests == ran.digests,
            **self._report.memory(),
        )

    def cancel(self) -> None:
        delay = 0.4 * self._pass
        measure_cancel(self._report, self.engine, self._asked, after_step=1, delay=delay)

    def host_to_device(self) -> None:
        """The rate at which an expert would come back from the host's memory."""
        for pinned in (False, True) if self._report.has_gpu else (False,):
            parameters = list(self.pipeline.transformer_2.parameters())[:200]
            host = [tensor.detach().to("cpu") for tensor in parameters]
            if pinned:
                host = [tensor.pin_memory() for tensor in host]
            size = sum(tensor.numel() * tensor.element_size() for tensor in host)

            def move(tensors: list[torch.Tensor] = host, pinned: bool = pinned) -> None:
                for tensor in tensors:
                    tensor.to(self._settings.device, non_blocking=pinned, copy=True)

            seconds = self._report.seconds(move)
            expert = round(EXPERT_GB / (size / 1e9 / seconds), 1)
            facts = {"pinned": pinned, "gibPerS": round(size / GIB / seconds, 2), "secondsOfAnExpert": expert}
            self._report.say("host to device", **facts)

    def _latent_shape(self, resolution: str) -> tuple[int, ...]:
        width, height = self._settings.resolutions[resolution]
        frames = (self._settings.frames - 1) // self.pipeline.vae_scale_factor_temporal + 1
        scale = self.pipeline.vae_scale_factor_spatial
        return (1, self.pipeline.vae.config.z_dim, frames, height // scale, width // scale)


def _count_frames(path: Path, frames: Any, **_: Any) -> None:
    """Writes the number of frames and the digest of their pixels in place of a video."""
    count, digest = 0, hashlib.sha256()
    for frame in frames:
        count += 1
        digest.update(frame.tobytes())
    path.write_text(f"{count} {digest.hexdigest()}")
