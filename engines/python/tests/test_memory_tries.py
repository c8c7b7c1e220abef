"""A device whose memory is full, injected on a CPU at each phase of a run."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from judged import EVERY_STEP
from tempera_diffusers.memory_tries import offloaded
from tempera_engine import EngineError

IMAGE = {
    "prompt": "a circle",
    "image_size": {"width": 64, "height": 48},
    "num_inference_steps": 5,
    "guidance_scale": 1,
    "seed": 7,
}
VIDEO = {
    "prompt": "a circle",
    "num_frames": 17,
    "resolution": "480p",
    "num_inference_steps": 4,
    "guidance_scale": 1,
    "guidance_scale_2": 1,
    "seed": 7,
}
KINDS = {"text-to-image": IMAGE, "text-to-video": VIDEO}

Full = Callable[[Any, int, int], list[bool]]


@pytest.fixture
def full() -> Iterator[Full]:
    """
    `full(module, first, times)` lets the calls of a module from the `first` on fail for want of memory, so
    many times. Returns a list with an entry for each call: whether it failed.
    """
    hooks = []

    def fail(module: Any, first: int, times: int) -> list[bool]:
        calls: list[bool] = []

        def hook(*_: Any) -> None:
            fails = len(calls) + 1 >= first and sum(calls) < times
            calls.append(fails)
            if fails:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has …")

        hooks.append(module.register_forward_pre_hook(hook))
        return calls

    yield fail
    for hook in hooks:
        hook.remove()


def module_of(engine: Any, phase: str) -> Any:
    pipeline = engine._loaded._pipeline
    return {
        "encode": pipeline.text_encoder,
        # A part that runs when a pass is computed, and not for a step that was done before.
        "denoise": pipeline.transformer.proj_out,
        "decode": pipeline.vae.decoder,
    }[phase]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("phase", "first"), [("encode", 1), ("denoise", 2), ("decode", 1)])
def test_runs_again_with_an_emptied_cache_from_the_last_step(
    load: Any, runs: Any, full: Full, monkeypatch: pytest.MonkeyPatch, kind: str, phase: str, first: int
) -> None:
    engine, input_value = load(kind), KINDS[kind]
    passes = full(module_of(engine, "denoise"), 99, 0)
    plain = runs(engine, input_value)
    whole = len(passes)
    emptied: list[bool] = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: emptied.append(True))
    failures = full(module_of(engine, phase), first, 1)
    ran = runs(engine, input_value)
    assert sum(failures) == 1
    assert emptied
    assert (ran.steps, ran.digests) == (plain.steps, plain.digests)
    assert len(ran.files) == 1
    # No step is computed twice but the one that failed.
    assert len(passes) - whole == whole + (1 if phase == "denoise" else 0)
    assert [level for level, _ in ran.logs if level == "WARN"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_decodes_in_tiles_when_that_was_not_enough(load: Any, runs: Any, full: Full, kind: str) -> None:
    engine = load(kind)
    vae = engine._loaded._pipeline.vae
    tiled: list[bool] = []
    hook = vae.decoder.register_forward_pre_hook(lambda *_: tiled.append(vae.use_tiling))
    try:
        full(module_of(engine, "decode"), 1, 2)
        ran = runs(engine, KINDS[kind])
    finally:
        hook.remove()
    assert tiled[:3] == [False, False, True]
    assert len(ran.files) == 1
    assert ("WARN", "The device's memory is full: the result is decoded in tiles.") in ran.logs
    # The next request has what it needs.
    assert not vae.use_tiling


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phase", ["encode", "denoise", "decode"])
def test_gives_up_with_the_size_and_the_remedy_and_runs_the_next_request(
    load: Any, runs: Any, full: Full, kind: str, phase: str
) -> None:
    engine = load(kind)
    plain = runs(engine, KINDS[kind]).digests
    failures = full(module_of(engine, phase), 1, 3)
    with pytest.raises(EngineError) as raised:
        runs(engine, KINDS[kind])
    assert sum(failures) == 3
    assert raised.value.code == "runner_out_of_memory"
    size = "64x48" if kind == "text-to-image" else "480p, 17 frames"
    assert str(raised.value) == (
        f"cpu has too little memory for this request ({size}): 20.00 GiB more were needed, also with an "
        "emptied cache and decoding in tiles. Ask for a smaller size or fewer frames or images; or its "
        "operator sets parameters.offload of model.yaml, or serves the model on a larger device."
    )
    # Frames of the failed run, with their tensors, are not kept by the exception.
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None
    assert runs(engine, KINDS[kind]).digests == plain


def test_keeps_a_checkpoint_that_the_next_attempt_goes_on_from(load: Any, runs: Any, full: Full) -> None:
    engine = load("text-to-image")
    plain = runs(engine, IMAGE)
    checkpoints: dict[int, bytes] = {}
    emit = {"step": 0}

    def remember(_run: Any, event: Any) -> None:
        if event.WhichOneof("event") == "checkpoint":
            emit["step"] = event.checkpoint.step
            checkpoints[emit["step"]] = b""
        if event.WhichOneof("event") == "checkpoint_chunk":
            checkpoints[emit["step"]] += event.checkpoint_chunk.data

    full(module_of(engine, "denoise"), 4, 3)
    with pytest.raises(EngineError):
        runs(engine, IMAGE, policy=EVERY_STEP, on_event=remember)
    assert sorted(checkpoints) == [1, 2, 3]
    again = runs(engine, IMAGE, checkpoint=checkpoints[3])
    assert (again.steps, again.digests) == ([4, 5], plain.digests)


def test_goes_on_from_a_given_checkpoint_after_a_full_memory(load: Any, runs: Any, full: Full) -> None:
    engine = load("text-to-image")
    plain = runs(engine, IMAGE, policy=EVERY_STEP)
    full(module_of(engine, "encode"), 1, 1)
    again = runs(engine, IMAGE, checkpoint=plain.checkpoints[3])
    assert (again.steps, again.digests) == ([4, 5], plain.digests)


def test_goes_on_without_previews_when_one_does_not_fit(
    load: Any, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    engine = load("text-to-image")
    plain = runs(engine, IMAGE)
    passes: list[int] = []
    hook = module_of(engine, "denoise").register_forward_pre_hook(lambda *_: passes.append(1))
    monkeypatch.setattr("tempera_engine.run.PREVIEW_SHARE", 1e9)
    monkeypatch.setattr("tempera_diffusers.image.image_renderer.draw_preview", full)
    try:
        ran = runs(engine, IMAGE, previews=True)
    finally:
        hook.remove()
    assert (ran.digests, ran.previews, len(passes)) == (plain.digests, [], 5)


def test_starts_over_without_going_back_when_the_state_cannot_be_kept(
    load: Any, runs: Any, full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tempera_diffusers.sampling import denoising
    from tempera_diffusers.sampling.scheduler_state import UnserializableState

    def refuse(*_: Any) -> Any:
        raise UnserializableState("Scheduler.generator")

    engine = load("text-to-image")
    plain = runs(engine, IMAGE)
    monkeypatch.setattr(denoising, "write_state", refuse)
    full(module_of(engine, "denoise"), 3, 1)
    ran = runs(engine, IMAGE)
    assert (ran.steps, ran.digests) == ([1, 2, 3, 4, 5], plain.digests)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:130] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_knows_a_full_memory_in_other_words(load: Any, runs: Any, error: Exception) -> None:
    def hook(*_: Any) -> None:
        raise error

    engine = load("text-to-image")
    handle = module_of(engine, "denoise").register_forward_pre_hook(hook)
    try:
        with pytest.raises(EngineError) as raised:
            runs(engine, IMAGE)
    finally:
        handle.remove()
    assert raised.value.code == "runner_out_of_memory"


class Pipeline:
    """The calls with which a pipeline of diffusers is moved."""

    def __init__(self, *, full_at_return: bool = False) -> None:
        self.calls: list[str] = []
        self._full = full_at_return

    def enable_model_cpu_offload(self, device: torch.device) -> None:
        self.calls.append(f"offload {device}")

    def remove_all_hooks(self) -> None:
        self.calls.append("remove hooks")

    def to(self, device: torch.device) -> None:
        self.calls.append(f"to {device}")
        if self._full:
            raise torch.OutOfMemoryError("CUDA out of memory.")


def test_offloads_for_one_run_on_a_gpu() -> None:
    device = torch.device("cuda:0")
    pipeline = Pipeline()
    with offloaded(pipeline, device):
        assert pipeline.calls == ["offload cuda:0"]
    assert pipeline.calls[1:] == ["remove hooks", "to cuda:0"]


def test_stays_offloaded_when_others_have_taken_the_memory_meanwhile() -> None:
    device = torch.device("cuda:0")
    pipeline = Pipeline(full_at_return=True)
    with offloaded(pipeline, device):
        pass
    assert pipeline.calls[1:] == ["remove hooks", "to cuda:0", "offload cuda:0"]
