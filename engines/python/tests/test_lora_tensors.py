"""LoRA weights that mean harm: each would loop, allocate without bound or change the network by itself."""

from typing import Any

import pytest
import torch
from tempera_diffusers.lora_tensors import check_tensors

LAYER = "transformer.transformer_blocks.0.attn.to_q"
DOWN, UP = torch.zeros(4, 32), torch.zeros(32, 4)
GOOD = {f"{LAYER}.lora_A.weight": DOWN, f"{LAYER}.lora_B.weight": UP}


@pytest.mark.parametrize(
    "names",
    [
        (".lora_A.weight", ".lora_B.weight"),
        (".lora_A.default.weight", ".lora_B.default.weight"),
        (".lora_down.weight", ".lora_up.weight"),
        (".lora.down.weight", ".lora.up.weight"),
    ],
)
def test_the_usual_forms_pass(names: tuple[str, str]) -> None:
    tensors = {f"{LAYER}{names[0]}": DOWN, f"{LAYER}{names[1]}": UP, f"{LAYER}.alpha": torch.tensor(4.0)}
    check_tensors(tensors)
    check_tensors({name: tensor.to(torch.float8_e4m3fn) for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({f"{LAYER}.alpha": torch.tensor(-4.0)}, "should be one number above 0"),
        ({f"{LAYER}.alpha": torch.tensor(float("inf"))}, "has values that are no numbers"),
        ({f"{LAYER}.alpha": torch.ones(2)}, "should be one number above 0"),
        ({"diffusion_model.blocks.4000000000000.self_attn.q.lora_A.weight": DOWN}, "a number above 999"),
        ({"([\\w.]+)+!.lora_A.weight": DOWN}, "is no name of a layer"),
        ({"a" * 301: DOWN}, "is no name of a layer"),
        ({"transformer.blocks.0.lora.to_qkv.lokr_w1": DOWN}, "is no tensor of LoRA weights"),
        ({"lora_controlnet": DOWN}, "is no tensor of LoRA weights"),
        ({f"{LAYER}.weight": DOWN}, "is no tensor of LoRA weights"),
        ({f"{LAYER}.lora_A.weight": torch.zeros(0, 32)}, "it should be a matrix"),
        ({f"{LAYER}.lora_A.weight": torch.zeros(4, 32, 1)}, "it should be a matrix"),
        ({f"{LAYER}.lora_B.weight": torch.zeros(0, 2**23)}, "it should be a matrix"),
        ({f"{LAYER}.lora_A.weight": torch.zeros(513, 2)}, "has the rank 513, above 512"),
        ({f"{LAYER}.lora_B.weight": torch.zeros(32, 5)}, "has the rank 5, and its other matrix 4"),
        ({f"{LAYER}.lora_A.weight": torch.full((4, 32), float("nan"))}, "has values that are no numbers"),
        ({f"{LAYER}.lora_A.weight": DOWN.to(torch.int64)}, "numbers of the type torch.int64"),
    ],
)
def test_harmful_ones_are_named(bad: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_tensors({**GOOD, **bad})
    assert reason in str(refused.value)


def test_an_empty_file_and_too_many_tensors_are_refused() -> None:
    for tensors in ({}, {f"layer{i}.lora_A.weight": DOWN for i in range(5_001)}):
        with pytest.raises(ValueError, match="it should have 1 to 5000"):
            check_tensors(tensors)
