"""Full-size pipelines of the real classes with random weights, which are made on the device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tiny_pipelines as tiny
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, UMT5Config, UMT5EncoderModel

from .settings import Settings

DTYPE = torch.bfloat16


@torch.no_grad()
def made_on(device: torch.device, make: Callable[[], Any]) -> Any:
    """Makes a network with random weights; nothing of it is ever in the memory of the host."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = make()
    network = network.to(DTYPE).to_empty(device=device).eval()
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not tensor.is_floating_point() or name.endswith("bias") or tensor.ndim == 0:
            tensor.zero_()
        elif tensor.ndim == 1 or "norm" in name:
            tensor.fill_(1)
        else:
            tensor.normal_(0, 0.02)
    return network


def billions(network: Any) -> float:
    """Returns the number of parameters, in billions."""
    return round(sum(tensor.numel() for tensor in network.parameters()) / 1e9, 2)


def qwen_image(settings: Settings) -> QwenImagePipeline:
    """Makes Qwen-Image: 20 billion parameters, and 8 billion of the text encoder."""
    pipeline = tiny.qwen_image()
    if settings.small:
        pipeline.to(settings.device, DTYPE)
    else:
        device = settings.device
        transformer = made_on(device, lambda: QwenImageTransformer2DModel(num_layers=60))
        # Its tables are plain tensors, no buffers, and were made without content.
        axes = [16, 56, 56]
        transformer.pos_embed = type(transformer.pos_embed)(theta=10000, axes_dim=axes, scale_rope=True)
        with _default(device):
            text = Qwen2_5_VLForConditionalGeneration(_qwen_text(len(pipeline.tokenizer))).eval()
            vae = AutoencoderKLQwenImage().eval()
        parts = {**pipeline.components, "transformer": transformer, "text_encoder": text, "vae": vae}
        pipeline = QwenImagePipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def wan_text_to_video(settings: Settings) -> WanPipeline:
    """Makes Wan 2.2 A14B: two experts of 14 billion parameters, and 6 billion of the text encoder."""
    pipeline = tiny.wan_text_to_video()
    if settings.small:
        pipeline.to(settings.device, DTYPE)
        pipeline.vae.to(torch.float32)
    else:
        device = settings.device
        with _default(device):
            text = UMT5EncoderModel(_wan_text(len(pipeline.tokenizer))).eval()
        vae = AutoencoderKLWan().to(device, torch.float32).eval()
        experts = {name: _wan_expert(device) for name in ("transformer", "transformer_2")}
        parts = {**pipeline.components, **experts, "text_encoder": text, "vae": vae}
        pipeline = WanPipeline(**parts, boundary_ratio=0.875)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _wan_expert(device: torch.device) -> Any:
    # The defaults of the class are those of A14B.
    network = made_on(device, WanTransformer3DModel)
    network.rope = type(network.rope)(128, (1, 2, 2), 1024).to(device)
    return network


def _wan_text(words: int) -> UMT5Config:
    sizes = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    return UMT5Config(vocab_size=words, feed_forward_proj="gated-gelu", **sizes)


def _qwen_text(words: int) -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": words,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 3584,
        },
    )


@contextmanager
def _default(device: torch.device) -> Iterator[None]:
    """Makes networks on the device, in bfloat16. They draw their own weights."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)
