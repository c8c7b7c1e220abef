"""Settings that make networks faster or smaller, on a CPU with a tiny network of a real class."""

from typing import Any

import pytest
import tiny_pipelines
import torch
from tempera_diffusers.parameters import Parameters
from tempera_diffusers.speed import prepare

CPU = torch.device("cpu")


def prepared(**settings: Any) -> Any:
    pipeline = tiny_pipelines.qwen_image()
    prepare(pipeline, Parameters.parse(settings), CPU)
    return pipeline


def test_weights_are_stored_in_eight_bits_and_the_images_stay_alike() -> None:
    plain, small = prepared(), prepared(weightStorage="float8_e4m3fn")
    layer = "transformer_blocks.0.attn.to_q"
    stored = small.transformer.get_submodule(layer).weight
    assert stored.dtype == torch.float8_e4m3fn
    assert stored.element_size() * 4 == plain.transformer.get_submodule(layer).weight.element_size()
    images = [
        pipeline(
            "a circle",
            height=64,
            width=64,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
        ).images
        for pipeline in (plain, small)
    ]
    difference = float((images[0] - images[1]).abs().mean())
    assert 0 < difference < 0.05


def test_the_attention_backend_is_chosen() -> None:
    pipeline = prepared(attention="native")
    backends = {
        str(module.processor._attention_backend)
        for module in pipeline.transformer.modules()
        if hasattr(module, "processor")
    }
    assert backends == {"AttentionBackendName.NATIVE"}


@pytest.mark.parametrize("backend", ["sage", "no such backend"])
def test_an_attention_backend_that_is_not_here_is_named(backend: str) -> None:
    sentence = rf"parameters\.attention of model\.yaml: '{backend}' cannot be used on cpu: \S"
    with pytest.raises(ValueError, match=sentence):
        prepared(attention=backend)


def test_the_repeated_blocks_are_compiled_for_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "diffusers.QwenImageTransformer2DModel.compile_repeated_blocks",
        lambda _network, **settings: calls.append(settings),
    )
    prepared(compile=True)
    assert calls == [{"fullgraph": True, "dynamic": True}]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"weightStorage": "int3"}, "weightStorage: 'int3' should be one of float8_e4m3fn, float8_e5m2"),
        ({"compile": "yes"}, "compile: 'yes' should be true or false"),
        ({"attention": 7}, "attention: 7 should be the name of a backend of diffusers"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Parameters.parse(settings)
