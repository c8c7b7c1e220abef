"""
Makes pipeline folders of the classes of real checkpoints, a few hundred kilobytes each, with random weights
and without downloads. Their results are noise, made by the same code that runs the real checkpoints.

    python tests/tiny_pipelines.py text-to-image /tmp/tiny-qwen-image
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tempera_diffusers.image.vision_processor import VisionProcessor  # noqa: E402

TEXT_WIDTH = 32
LATENT_CHANNELS = 16


def qwen_image() -> QwenImagePipeline:
    """
    Text to image with true classifier-free guidance, dynamic shift and 16 pixels per token, as in Qwen-Image.
    """
    torch.manual_seed(0)
    return QwenImagePipeline(**_qwen_parts(_byte_tokenizer()))


def qwen_image_edit() -> QwenImageEditPipeline:
    """Edits an image, which the text encoder looks at, as in Qwen-Image-Edit."""
    torch.manual_seed(0)
    return QwenImageEditPipeline(**_qwen_edit_parts())


def qwen_image_edit_plus() -> QwenImageEditPlusPipeline:
    """Edits up to three images, as in Qwen-Image-Edit-2509 and -2511."""
    torch.manual_seed(0)
    return QwenImageEditPlusPipeline(**_qwen_edit_parts())


def wan_text_to_video(*, experts: int = 2) -> WanPipeline:
    """
    Text to video with two experts and UniPC over flow sigmas, as in Wan 2.2 A14B; with one expert as in Wan
    2.1.
    """
    torch.manual_seed(0)
    return WanPipeline(
        **_wan_parts(experts, in_channels=LATENT_CHANNELS), boundary_ratio=0.875 if experts == 2 else None
    )


def wan_image_to_video() -> WanImageToVideoPipeline:
    """
    Image to video; the latents of the first frame and their mask are channels of the transformers, as in Wan
    2.2 A14B.
    """
    torch.manual_seed(0)
    return WanImageToVideoPipeline(**_wan_parts(2, in_channels=2 * LATENT_CHANNELS + 4), boundary_ratio=0.9)


def wan_text_and_image_to_video() -> WanPipeline:
    """
    Text to video and image to video with one expert, which is told the noise level of each token, as in Wan
    2.2 TI2V-5B: its folder is published as a `WanPipeline`, and its autoencoder makes 16 by 16 pixels of a
    latent.
    """
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        is_residual=True,
    ).eval()
    parts = {**_wan_parts(1, in_channels=LATENT_CHANNELS), "vae": vae}
    return WanPipeline(**parts, expand_timesteps=True)


def _qwen_parts(tokenizer: Qwen2Tokenizer) -> dict[str, Any]:
    return {
        "tokenizer": tokenizer,
        "text_encoder": _qwen_text_encoder(tokenizer).eval(),
        "transformer": QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=LATENT_CHANNELS * 4,
            out_channels=LATENT_CHANNELS,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=TEXT_WIDTH,
            axes_dims_rope=(4, 6, 6),
        ).eval(),
        "vae": AutoencoderKLQwenImage(
            base_dim=8, z_dim=LATENT_CHANNELS, dim_mult=[1, 1, 1, 1], num_res_blocks=1
        ).eval(),
        # Equals scheduler_config.json of Qwen-Image.
        "scheduler": FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            base_image_seq_len=256,
            max_image_seq_len=8192,
            shift_terminal=0.02,
        ),
    }


def _qwen_edit_parts() -> dict[str, Any]:
    tokenizer = _byte_tokenizer()
    # 28 by 28 pixels are a token of the text encoder, as in Qwen2.5-VL.
    images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=4 * 28 * 28)
    return {**_qwen_parts(tokenizer), "processor": VisionProcessor(images, tokenizer)}


def _wan_parts(experts: int, *, in_channels: int) -> dict[str, Any]:
    tokenizer = _letter_tokenizer()
    text = UMT5Config(
        vocab_size=len(tokenizer), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=4
    )
    networks = [_wan_transformer(in_channels) for _ in range(experts)]
    return {
        "tokenizer": tokenizer,
        "text_encoder": UMT5EncoderModel(text).eval(),
        "transformer": networks[0],
        "transformer_2": networks[1] if experts == 2 else None,
        "vae": AutoencoderKLWan(
            base_dim=4, z_dim=LATENT_CHANNELS, dim_mult=[1, 1, 1, 1], num_res_blocks=1
        ).eval(),
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    }


def _wan_transformer(in_channels: int) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=64,
    ).eval()


def _qwen_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    config = Qwen2_5_VLConfig(
        **ids,
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "rope_theta": 1_000_000.0,
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": TEXT_WIDTH,
        },
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _byte_tokenizer() -> Qwen2Tokenizer:
    """
    Makes Qwen's tokenizer without its merges: each byte is a token, written as the letter that byte-level BPE
    gives it.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[])
    names = ["im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    return tokenizer


def _letter_tokenizer() -> T5Tokenizer:
    """Makes a tokenizer of UMT5's type whose pieces are single letters."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz0123456789,.-"]
    return T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0)


PIPELINES: dict[str, Callable[[], Any]] = {
    "text-to-image": qwen_image,
    "image-edit": qwen_image_edit,
    "image-edit-plus": qwen_image_edit_plus,
    "text-to-video": wan_text_to_video,
    "image-to-video": wan_image_to_video,
    "text-and-image-to-video": wan_text_and_image_to_video,
}


def save(kind: str, folder: Path) -> None:
    """Writes a pipeline folder as it is published."""
    PIPELINES[kind]().save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    if "processor" in index:
        index["processor"] = ["transformers", "Qwen2VLProcessor"]
        (folder / "model_index.json").write_text(json.dumps(index, indent=2))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in PIPELINES:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(PIPELINES)} <folder>")
    save(sys.argv[1], Path(sys.argv[2]))
