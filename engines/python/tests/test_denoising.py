"""Resuming a pipeline that runs its whole course: each class, each scheduler that it takes, each step."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import pytest
import tiny_pipelines
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditInpaintPipeline,
    QwenImageImg2ImgPipeline,
    QwenImageInpaintPipeline,
    UniPCMultistepScheduler,
)
from judged import EVERY_STEP
from PIL import Image
from tempera_diffusers.sampling.denoising import Denoising
from tempera_diffusers.sampling.scheduler_state import write_state
from tempera_engine import Capabilities, Engine, Model, Progress, Run
from tempera_engine.checkpoint import CheckpointOwner, input_digest, pack

RED = Image.new("RGB", (32, 32), "red")
MASK = Image.new("L", (32, 32), 0)
MASK.paste(255, (0, 0, 16, 32))
QWEN = {"prompt": "a star", "negative_prompt": " ", "true_cfg_scale": 2.5, "output_type": "np"}
QWEN_SIZE = {"height": 32, "width": 32}
WAN = {
    "prompt": "a star",
    "negative_prompt": "blurry",
    "height": 32,
    "width": 32,
    "num_frames": 5,
    "num_inference_steps": 5,
    "guidance_scale": 3.5,
    "guidance_scale_2": 4.0,
    "output_type": "np",
}
NOISED = {"num_inference_steps": 8, "strength": 0.6}
"""Begins with the noise of the fourth of eight steps, so that five are left."""


@dataclass(frozen=True)
class Case:
    make: Callable[[], Any]
    arguments: dict[str, Any]
    pipeline_class: Any = None
    """Another class with the same parts."""
    schedulers: tuple[str, ...] = ("euler", "unipc")


# The last three add noise to an image with a method that only flow-match schedulers have (`scale_noise`).
CASES = {
    "text-to-image": Case(tiny_pipelines.qwen_image, {**QWEN, **QWEN_SIZE, "num_inference_steps": 5}),
    "edit": Case(
        tiny_pipelines.qwen_image_edit, {**QWEN, **QWEN_SIZE, "image": RED, "num_inference_steps": 5}
    ),
    "edit-plus": Case(
        tiny_pipelines.qwen_image_edit_plus,
        {**QWEN, **QWEN_SIZE, "image": [RED, RED], "num_inference_steps": 5},
    ),
    "text-to-video": Case(tiny_pipelines.wan_text_to_video, WAN),
    "image-to-video": Case(tiny_pipelines.wan_image_to_video, {**WAN, "image": RED}),
    "image-to-image": Case(
        tiny_pipelines.qwen_image,
        {**QWEN, **QWEN_SIZE, **NOISED, "image": RED},
        QwenImageImg2ImgPipeline,
        ("euler",),
    ),
    "inpaint": Case(
        tiny_pipelines.qwen_image,
        {**QWEN, **QWEN_SIZE, **NOISED, "image": RED, "mask_image": MASK},
        QwenImageInpaintPipeline,
        ("euler",),
    ),
    "edit-inpaint": Case(
        tiny_pipelines.qwen_image_edit,
        {**QWEN, **NOISED, "image": RED, "mask_image": MASK},
        QwenImageEditInpaintPipeline,
        ("euler",),
    ),
}

ALL = [(case, scheduler) for case in CASES for scheduler in CASES[case].schedulers]


def scheduler_of(name: str, own: Any) -> Any:
    """Makes a scheduler over flow sigmas, with the shift of the pipeline's own."""
    dynamic = bool(own.config.get("use_dynamic_shifting"))
    if name == "euler":
        return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=dynamic, shift=1.0 if dynamic else 3.0)
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        use_dynamic_shifting=dynamic,
        flow_shift=1.0 if dynamic else 3.0,
    )


class BarePipeline(Engine):
    """Calls a pipeline, watched, and gives the digest of its result."""

    def __init__(self, case: Case, scheduler: str) -> None:
        pipeline = case.make()
        if case.pipeline_class is not None:
            pipeline = case.pipeline_class(**pipeline.components)
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline, self._case = pipeline, case
        self._scheduler = scheduler_of(scheduler, pipeline.scheduler)

    def describe(self) -> Capabilities:
        return Capabilities(runners=[], artifact_types=[])

    def load(self, model: Model, progress: Progress) -> None:
        raise NotImplementedError

    def fresh_scheduler(self) -> Any:
        return type(self._scheduler).from_config(self._scheduler.config)

    def call(self, **further: Any) -> dict[str, Any]:
        result = self.pipeline(
            **self._case.arguments, generator=torch.Generator().manual_seed(7), return_dict=False, **further
        )
        return {"digest": hashlib.sha256(result[0].tobytes()).hexdigest()}

    def run(self, run: Run) -> dict[str, Any]:
        with Denoising(run, self.pipeline, self.fresh_scheduler(), None):
            return self.call()

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """Counts the passes that each network computes, by the last of its layers."""
        passes = {"transformer": 0, "transformer_2": 0}

        def count(name: str) -> Any:
            def hook(*_: Any) -> None:
                passes[name] += 1

            return hook

        hooks = [
            part.proj_out.register_forward_hook(count(name))
            for name in passes
            if (part := self.pipeline.components.get(name)) is not None
        ]
        try:
            yield passes
        finally:
            for hook in hooks:
                hook.remove()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Lets the same input give the same bytes on every machine, and keeps threads from waiting in loops."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the editing pipelines look at images of 32 by 32 pixels, where they look at a megapixel."""
    for name in ("edit", "edit_plus", "edit_inpaint"):
        module = getattr(diffusers.pipelines.qwenimage, f"pipeline_qwenimage_{name}")
        own = module.calculate_dimensions
        monkeypatch.setattr(
            module, "calculate_dimensions", lambda _area, ratio, own=own: own(32 * 32, ratio)
        )


@pytest.mark.parametrize(("case", "scheduler"), ALL)
def test_resumes_from_any_step_to_the_same_bytes(runs: Any, case: str, scheduler: str) -> None:
    engine = BarePipeline(CASES[case], scheduler)
    whole = runs(engine, {}, policy=EVERY_STEP)
    assert whole.steps == [1, 2, 3, 4, 5]
    assert sorted(whole.checkpoints) == [1, 2, 3, 4]
    counted = []
    for step, checkpoint in whole.checkpoints.items():
        with engine.counting() as passes:
            rest = runs(engine, {}, policy=EVERY_STEP, checkpoint=checkpoint)
        counted.append(sum(passes.values()))
        assert rest.logs == [("INFO", f"Going on from step {step}.")]
        assert rest.steps == list(range(step + 1, 6))
        assert rest.output == whole.output
        assert rest.checkpoints == {later: whole.checkpoints[later] for later in rest.steps[:-1]}
    # Two passes a step, with guidance; none for the steps that were done before.
    assert counted == [8, 6, 4, 2]


@pytest.mark.parametrize(("case", "scheduler"), [("inpaint", "euler"), ("text-to-video", "unipc")])
def test_computes_what_the_pipeline_alone_computes(runs: Any, case: str, scheduler: str) -> None:
    engine = BarePipeline(CASES[case], scheduler)
    engine.pipeline.scheduler = engine.fresh_scheduler()
    assert engine.call() == runs(engine, {}).output
    # The call has left nothing behind.
    engine.pipeline.scheduler.set_begin_index(None)
    assert engine.call() == runs(engine, {}).output


@pytest.mark.parametrize("scheduler", ["euler", "unipc"])
def test_computes_the_passes_of_each_expert_that_are_left(runs: Any, scheduler: str) -> None:
    engine = BarePipeline(CASES["text-to-video"], scheduler)
    with engine.counting() as whole:
        checkpoints = runs(engine, {}, policy=EVERY_STEP).checkpoints
    assert whole["transformer"] + whole["transformer_2"] == 10
    assert min(whole.values()) >= 2
    for step, checkpoint in checkpoints.items():
        with engine.counting() as passes:
            runs(engine, {}, checkpoint=checkpoint)
        # The first expert has the first steps.
        first = max(0, whole["transformer"] - 2 * step)
        assert passes == {"transformer": first, "transformer_2": 10 - 2 * step - first}


@pytest.mark.parametrize(("case", "scheduler"), [("text-to-image", "euler"), ("text-to-video", "unipc")])
def test_resumes_from_a_checkpoint_of_an_earlier_release(runs: Any, case: str, scheduler: str) -> None:
    """Its latents were those of the pipeline's callback; the scheduler's state was what it is now."""
    import json

    from safetensors.torch import save

    engine = BarePipeline(CASES[case], scheduler)
    kept: dict[int, bytes] = {}

    def keep(pipeline: Any, index: int, _: Any, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors = {"latents": values["latents"].clone()}
        state = json.dumps(write_state(pipeline.scheduler, tensors)).encode()
        kept[index + 1] = save({**tensors, "json": torch.frombuffer(bytearray(state), dtype=torch.uint8)})
        return {}

    engine.pipeline.scheduler = engine.fresh_scheduler()
    whole = engine.call(callback_on_step_end=keep, callback_on_step_end_tensor_inputs=["latents"])
    owner = CheckpointOwner("acme/tiny 1.0.0", input_digest({}, []), engine.checkpoint_format)
    for step in (2, 4):
        rest = runs(engine, {}, checkpoint=pack(owner, step, kept[step]))
        assert (rest.steps, rest.output) == (list(range(step + 1, 6)), whole)


def test_leaves_the_networks_as_they_were(runs: Any) -> None:
    engine = BarePipeline(CASES["text-to-video"], "unipc")
    networks = [engine.pipeline.transformer, engine.pipeline.transformer_2]
    offloaded = networks[1].forward
    networks[1].forward = offloaded  # As accelerate does it.
    checkpoints = runs(engine, {}, policy=EVERY_STEP).checkpoints

    def cancel(run: Run, event: Any) -> None:
        if event.WhichOneof("event") == "log":
            run._cancel()

    assert runs(engine, {}, checkpoint=checkpoints[3], on_event=cancel).cancelled
    assert "forward" not in vars(networks[0])
    assert vars(networks[1])["forward"] is offloaded
