"""Qwen-Image: the engine against a bare loop, checkpoints, cancelling, and what makes a step faster."""

from functools import partial
from typing import Any

import torch
from judged import EVERY_STEP, judge
from tempera_diffusers.engine import DiffusersEngine

from .engine import engine_around, measure_cancel
from .networks import billions, qwen_image
from .report import Report, milliseconds
from .settings import Settings

PROMPT = "a red circle on a blue background, photographed"
ATTENTION = ("native", "_native_cudnn", "_native_flash", "_flash_3", "flash")


def measure(report: Report, settings: Settings) -> None:
    made: list[Any] = []
    seconds = report.seconds(lambda: made.append(qwen_image(settings)))
    phase = _QwenPhase(report, settings, made[0])
    sizes = {"transformerB": billions(made[0].transformer), "textB": billions(made[0].text_encoder)}
    report.say("built", seconds=round(seconds, 1), **sizes, **report.memory())
    report.measure("bare step", phase.bare_steps, seconds=40)
    report.measure("stages", phase.stages, seconds=15)
    phase.engine = engine_around(phase.pipeline, "text-to-image", settings)
    report.measure("engine step", phase.engine_step, seconds=15)
    report.measure("checkpoint", phase.checkpoint, seconds=15)
    report.measure("cancel", phase.cancel, seconds=15)
    report.measure("attention", phase.attention, seconds=30)
    report.measure("large request", phase.large_request, seconds=40)
    if settings.compiles:
        report.measure("compiled", phase.compiled, seconds=60)
    if report.has_gpu:
        report.measure("fp8 rows", phase.fp8_rows, seconds=40)


class _QwenPhase:
    engine: DiffusersEngine

    def __init__(self, report: Report, settings: Settings, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._report = report
        self._settings = settings
        self._side = settings.side
        self._bare_step = 0.0

    def bare_steps(self) -> None:
        """Steps of the pipeline without the engine: one image and four, guided or not, two sizes."""
        side = self._side
        half = side // 2
        for width, count, guidance in ((side, 1, 4), (side, 1, 1), (side, 4, 4), (half, 1, 4), (half, 4, 4)):
            seconds = self._step(partial(self._call, side=width, count=count, guidance=guidance))
            if (width, count, guidance) == (side, 1, 4):
                self._bare_step = seconds
            each = milliseconds(seconds / count)
            facts = {"side": width, "images": count, "guided": guidance > 1}
            self._report.say("bare step", **facts, ms=milliseconds(seconds), msEach=each)

    def stages(self) -> None:
        pipeline, device = self.pipeline, self._settings.device
        vae = pipeline.vae
        sides = (self._side // pipeline.vae_scale_factor,) * 2
        latents = torch.zeros(1, vae.config.z_dim, 1, *sides, device=device, dtype=vae.dtype)
        with torch.no_grad():
            encode = self._report.median(lambda: pipeline.encode_prompt("a red circle " * 20, device=device))
            decode = self._report.median(lambda: vae.decode(latents, return_dict=False))
        facts = {"encodeMs": milliseconds(encode), "decodeMs": milliseconds(decode)}
        self._report.say("stages", **facts, **self._report.memory())

    def engine_step(self) -> None:
        few = self._report.median(lambda: judge(self.engine, self._asked(2)), times=1)
        step = self._step(lambda steps: judge(self.engine, self._asked(steps)))
        around = milliseconds(few - 2 * step)
        ratio = round(step / self._bare_step, 3) if self._bare_step else None
        self._report.say("engine step", ms=milliseconds(step), ratioToBare=ratio, aroundMs=around)

    def checkpoint(self) -> None:
        judged: list[Any] = []
        every = self._report.seconds(
            lambda: judged.append(judge(self.engine, self._asked(6), policy=EVERY_STEP))
        )
        none = self._report.seconds(lambda: judged.append(judge(self.engine, self._asked(6))))
        kept, plain = judged
        resumed = judge(self.engine, self._asked(6), checkpoint=kept.checkpoints[3])
        self._report.say(
            "checkpoint",
            bytes=len(kept.checkpoints[3]),
            msEach=milliseconds((every - none) / 5),
            sameBytesTwice=plain.digests == kept.digests,
            sameBytesAfterResume=resumed.digests == kept.digests,
        )

    def cancel(self) -> None:
        delay = 0.6 * self._bare_step
        measure_cancel(self._report, self.engine, self._asked(20), after_step=2, delay=delay)

    def attention(self) -> None:
        transformer = self.pipeline.transformer
        for name in ATTENTION:
            try:
                transformer.set_attention_backend(name)
                self._report.say("attention", backend=name, ms=milliseconds(self._step(self._call)))
            except Exception as error:
                self._report.say("attention", backend=name, refused=str(error)[:160])
        transformer.set_attention_backend("native")

    def large_request(self) -> None:
        """A request that may not fit, then one that does: the engine must be as good as before."""
        side = 2 * self._side
        large = {**self._asked(2), "num_images": 4, "image_size": {"width": side, "height": side}}
        try:
            judge(self.engine, large)
            self._report.say("large request", worked=True, **self._report.memory())
        except Exception as error:
            self._report.say("large request", worked=False, refused=str(error)[:160])
        after = judge(self.engine, self._asked(2))
        self._report.say("after it", works=bool(after.files), **self._report.memory())

    def compiled(self) -> None:
        def first() -> None:
            self.pipeline.transformer.compile_repeated_blocks(fullgraph=True, dynamic=True)
            self._call(2)

        seconds = self._report.seconds(first)
        step = milliseconds(self._step(self._call))
        works = bool(judge(self.engine, self._asked(4)).files)
        facts = {"firstCallS": round(seconds, 1), "ms": step, "worksInEngine": works}
        self._report.say("compiled", **facts, **self._report.memory())

    def fp8_rows(self) -> None:
        """Weights and activations in float8, on top of what is compiled."""
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

        def is_wide(module: torch.nn.Module, name: str) -> bool:
            if not isinstance(module, torch.nn.Linear) or "transformer_blocks" not in name:
                return False
            return module.in_features >= 1024

        config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
        quantize_(self.pipeline.transformer, config, filter_fn=is_wide)
        self._report.free()
        step = milliseconds(self._step(self._call))
        self._report.say("fp8 rows", ms=step, **self._report.memory())

    def _call(self, steps: int, *, side: int = 0, count: int = 1, guidance: float = 4) -> None:
        self.pipeline(
            prompt=PROMPT,
            negative_prompt=" " if guidance > 1 else None,
            true_cfg_scale=guidance,
            width=side or self._side,
            height=side or self._side,
            num_inference_steps=steps,
            num_images_per_prompt=count,
            generator=[torch.Generator("cpu").manual_seed(i) for i in range(count)],
            output_type="latent",
        )

    def _asked(self, steps: int) -> dict[str, Any]:
        return {
            "prompt": PROMPT,
            "num_inference_steps": steps,
            "guidance_scale": 4,
            "image_size": {"width": self._side, "height": self._side},
            "seed": 1,
            "enable_safety_checker": False,
        }

    def _step(self, run: Any) -> float:
        """Seconds of a step: ten less two, over eight, so that all else falls out."""
        few = self._report.median(lambda: run(2), times=1)
        return (self._report.median(lambda: run(10), times=1, warm=0) - few) / 8
