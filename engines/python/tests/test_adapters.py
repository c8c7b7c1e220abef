"""LoRA weights of requests, on pipelines of the real classes with random weights."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from judged import EVERY_STEP
from tempera_engine import InputFile, InputInvalid, Model

IMAGE = {
    "prompt": "a large red circle",
    "image_size": {"width": 64, "height": 48},
    "num_inference_steps": 3,
    "seed": 7,
    "enable_safety_checker": False,
}
VIDEO = {"prompt": "waves", "num_frames": 17, "resolution": "480p", "num_inference_steps": 4, "seed": 7}
LAYERS = {"text-to-image": "transformer_blocks.0.attn.to_q", "wan": "blocks.0.attn1.to_q"}


@pytest.fixture(scope="module")
def engine(load: Any) -> Any:
    return load("text-to-image")


@pytest.fixture
def weights(tmp_path: Path) -> Any:
    """Writes LoRA weights for one layer, of this width."""

    def write(layer: str, *, seed: int = 1, width: int = 32, prefix: str = "transformer.") -> InputFile:
        generator = torch.Generator().manual_seed(seed)
        tensors = {
            f"{prefix}{layer}.lora_A.weight": torch.randn(4, width, generator=generator),
            f"{prefix}{layer}.lora_B.weight": torch.randn(width, 4, generator=generator),
        }
        path = tmp_path / f"{layer}-{seed}-{width}.safetensors"
        save_file(tensors, path)
        data = path.read_bytes()
        return InputFile(path, "application/octet-stream", len(data), hashlib.sha256(data).hexdigest())

    return write


def lora(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"path": f"attachment:{index}", **fields}


def test_an_adapter_changes_the_image_by_its_scale_and_leaves_the_model_as_it_was(
    engine: Any, runs: Any, weights: Any
) -> None:
    plain = runs(engine, IMAGE).digests
    files = [weights(LAYERS["text-to-image"])]
    full = runs(engine, {**IMAGE, "loras": [lora()]}, files=files).digests
    half = runs(engine, {**IMAGE, "loras": [lora(scale=0.5)]}, files=files).digests
    assert len({*plain, *full, *half}) == 3
    assert runs(engine, {**IMAGE, "loras": [lora(scale=0)]}, files=files).digests == plain
    assert runs(engine, IMAGE).digests == plain
    assert runs(engine, {**IMAGE, "loras": [lora()]}, files=files).digests == full


def test_adapters_of_many_requests_do_not_mix(
    engine: Any, runs: Any, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than are kept, so that the first is loaded again.
    kept = 8 * weights(LAYERS["text-to-image"]).bytes
    monkeypatch.setattr(engine._loaded._renderer._calls._adapters, "_kept_bytes_max", kept)
    files = [weights(LAYERS["text-to-image"], seed=seed) for seed in range(12)]
    alone = [runs(engine, {**IMAGE, "loras": [lora()]}, files=[file]).digests for file in files]
    assert len({digest for digests in alone for digest in digests}) == 12
    both = runs(engine, {**IMAGE, "loras": [lora(0), lora(1)]}, files=files[:2]).digests
    assert both not in alone
    assert [runs(engine, {**IMAGE, "loras": [lora()]}, files=[file]).digests for file in files] == alone


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"layer": "blocks.0.attn1.to_q"}, "do not fit this model"),
        ({"layer": "transformer_blocks.0.attn.to_q", "width": 48}, "do not fit this model"),
    ],
)
def test_weights_of_another_model_are_refused_and_harm_nobody(
    engine: Any, runs: Any, weights: Any, made: dict[str, Any], reason: str
) -> None:
    plain = runs(engine, IMAGE).digests
    with pytest.raises(InputInvalid) as refused:
        runs(engine, {**IMAGE, "loras": [lora()]}, files=[weights(**made)])
    [fault] = refused.value.faults
    assert fault.loc == ["loras", 0, "path"]
    assert reason in fault.msg or "another model" in fault.msg
    assert runs(engine, IMAGE).digests == plain


def test_wrong_fields_are_named(engine: Any, runs: Any, weights: Any) -> None:
    files = [weights(LAYERS["text-to-image"])]
    loras = [lora(scale=5), lora(transformer="middle"), {"scale": 1}]
    with pytest.raises(InputInvalid) as refused:
        runs(engine, {**IMAGE, "loras": loras}, files=files)
    assert [fault.loc for fault in refused.value.faults] == [
        ["loras", 0, "scale"],
        ["loras", 1, "transformer"],
        ["loras", 2, "path"],
    ]
    with pytest.raises(InputInvalid) as refused:
        runs(engine, {**IMAGE, "loras": [lora()] * 4}, files=files)
    assert [fault.msg for fault in refused.value.faults] == ["Input should be a list of at most 3 items"]


def test_each_expert_has_adapters_of_its_own(load: Any, runs: Any, weights: Any) -> None:
    engine = load("text-to-video")
    files = [weights(LAYERS["wan"], width=24)]
    digests = [runs(engine, VIDEO).digests[0]] + [
        runs(engine, {**VIDEO, "loras": [lora(transformer=expert)]}, files=files).digests[0]
        for expert in ("high", "low", "both")
    ]
    assert len(set(digests)) == 4
    assert runs(engine, VIDEO).digests[0] == digests[0]


def test_refused_requests_leave_no_more_adapters_than_are_kept(
    load: Any, runs: Any, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tempera_diffusers.adapters import Adapters

    engine = load("text-to-image")
    adapters: Adapters = engine._loaded._renderer._calls._adapters
    monkeypatch.setattr(adapters, "_kept_bytes_max", 2 * weights(LAYERS["text-to-image"]).bytes)
    wrong = weights("blocks.0.attn1.to_q")
    for seed in range(20, 32):
        files = [weights(LAYERS["text-to-image"], seed=seed), wrong]
        with pytest.raises(InputInvalid):
            runs(engine, {**IMAGE, "loras": [lora(0), lora(1)]}, files=files)
    assert len(adapters._kept) <= 2
    assert len(engine._pipeline.transformer.peft_config) <= 2


def test_a_full_memory_while_an_adapter_is_loaded_is_tried_again(
    engine: Any, runs: Any, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = engine._pipeline.transformer
    own = transformer.load_lora_adapter
    failures = iter([torch.OutOfMemoryError("Tried to allocate 2.00 GiB")])

    def load_lora_adapter(*args: Any, **options: Any) -> None:
        own(*args, **options)
        for failure in failures:
            raise failure

    files = [weights(LAYERS["text-to-image"], seed=40)]
    monkeypatch.setattr(transformer, "load_lora_adapter", load_lora_adapter)
    ran = runs(engine, {**IMAGE, "loras": [lora()]}, files=files)
    monkeypatch.undo()
    assert ran.digests == runs(engine, {**IMAGE, "loras": [lora()]}, files=files).digests


def test_a_resumed_run_has_its_adapter(engine: Any, runs: Any, weights: Any) -> None:
    files = [weights(LAYERS["text-to-image"], seed=41)]
    given = {**IMAGE, "loras": [lora()]}
    whole = runs(engine, given, files=files, policy=EVERY_STEP)
    resumed = runs(engine, given, files=files, policy=EVERY_STEP, checkpoint=whole.checkpoints[2])
    assert (resumed.steps, resumed.digests) == ([3], whole.digests)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"compile": True}, "its networks are compiled"),
        ({"weightStorage": "float8_e4m3fn"}, "its weights are stored as float8_e4m3fn"),
    ],
)
def test_a_model_that_cannot_take_adapters_refuses_them(
    pipeline_folder: Any, runs: Any, weights: Any, settings: dict[str, Any], reason: str
) -> None:
    from tempera_diffusers.engine import DiffusersEngine

    engine = DiffusersEngine()
    parameters = {"device": "cpu", "threads": 1, **settings}
    folder = pipeline_folder("text-to-image")
    engine.load(Model("acme/tiny", "1.0.0", "text-to-image", folder, parameters), lambda *_: None)
    files = [weights(LAYERS["text-to-image"])]
    with pytest.raises(InputInvalid) as refused:
        runs(engine, {**IMAGE, "loras": [lora()]}, files=files)
    assert [(fault.loc, fault.msg) for fault in refused.value.faults] == [
        (["loras"], f"This model takes no LoRA weights ({reason}); leave `loras` empty.")
    ]
