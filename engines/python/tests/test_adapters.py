"""LoRA weights of requests, on pipelines of the real classes with random weights."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tempera_engine import InputFile, InputInvalid

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


def test_adapters_of_many_requests_do_not_mix(engine: Any, runs: Any, weights: Any) -> None:
    # More than are kept, so that the first is loaded again.
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
