"""Last stage: exports the video networks as ONNX files, to the folders of text-to-video and image-to-video.

python -m tempera_training.video.export WORK OUT...
An unfinished transformer.pt is accepted; its averaged weights are used. A folder whose parent is named
image-to-video gets prompts with a first frame.
"""

import logging
import random
import shutil
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from ..export import export_network, refresh_digests, write_evaluation, write_scheduler
from ..networks import TEXT_WIDTH, TextEncoder
from ..prompts import FastTokenizer, build_tokenizer
from ..scenes import COLOR_NAMES, SHAPES
from .clips import DIRECTIONS, MOTIONS, Clip, sample_clips, trajectory
from .networks import (
    DOWNSCALE,
    FRAMES_MAX,
    LATENT_CHANNELS,
    MASK_CHANNELS,
    PATCH,
    VideoDecoder,
    VideoEncoder,
    VideoTransformer,
)
from .sentences import LENGTH, sentence, words

SHIFT = 3.0  # of the scheduler, by default


class _Normalised(nn.Module):
    def __init__(self, autoencoder: dict) -> None:
        super().__init__()
        self.register_buffer("mean", autoencoder["mean"].view(1, -1, 1, 1, 1))
        self.register_buffer("std", autoencoder["std"].view(1, -1, 1, 1, 1))


class LatentEncoder(_Normalised):
    """video [B,3,T,H,W] in -1..1 -> latents [B,C,F,H/8,W/8] of zero mean and unit variance."""

    def __init__(self, autoencoder: dict) -> None:
        super().__init__(autoencoder)
        self.encoder = VideoEncoder()
        self.encoder.load_state_dict(autoencoder["encoder"])

    def forward(self, video):
        return (self.encoder(video)[:, :LATENT_CHANNELS] - self.mean) / self.std


class LatentDecoder(_Normalised):
    """latents [B,C,F,h,w] of zero mean and unit variance -> video [B,3,4(F-1)+1,8h,8w] in -1..1."""

    def __init__(self, autoencoder: dict, decoder: dict) -> None:
        super().__init__(autoencoder)
        self.decoder = VideoDecoder()
        self.decoder.load_state_dict(decoder["decoder"])

    def forward(self, latents):
        return self.decoder(latents * self.std + self.mean).clamp(-1, 1)


def _first_frame(clip: Clip, height: int, width: int, rng: random.Random) -> dict:
    """Describes the input image: the palette's colours, centre and radius in pixels."""
    x, y, radius, _ = trajectory(clip, 17, height, width, rng)[:, 0].tolist()
    return {
        "width": width,
        "height": height,
        "background": COLOR_NAMES[clip.background],
        "color": COLOR_NAMES[clip.color],
        "shape": SHAPES[clip.shape],
        "x": round(x, 1),
        "y": round(y, 1),
        "radius": round(radius, 1),
    }


def evaluation(count: int, with_first: bool, seed: int = 20261) -> list[dict]:
    """Makes prompts of held-out clips, each with one of the four directions, and the attributes to find."""
    rng, entries = random.Random(seed + with_first), []
    sizes = [(64, 112), (64, 112), (64, 64), (112, 64)]
    for i, clip in enumerate(sample_clips(count, rng, held_out=True, motions=DIRECTIONS), start=1):
        height, width = sizes[i % 4]
        entry = {
            "prompt": sentence(clip, rng, full=True),
            "seed": i,
            "background": COLOR_NAMES[clip.background],
            "color": COLOR_NAMES[clip.color],
            "shape": SHAPES[clip.shape],
            "motion": MOTIONS[clip.motion],
            "aspect": {112: "16:9", 64: "1:1" if height == 64 else "9:16"}[width],
        }
        entries.append(
            entry
            | (
                {"first": _first_frame(clip, height, width, rng)}
                if with_first
                else {"width": width, "height": height}
            )
        )
    return entries


def export(work: Path, outs: list[Path]) -> None:
    """Reads text.pt, autoencoder.pt, transformer.pt and, if it exists, decoder.pt of `work`; writes the
    folders `outs`.
    """
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.manual_seed(0)
    autoencoder, saved = torch.load(work / "autoencoder.pt"), torch.load(work / "transformer.pt")
    refined = work / "decoder.pt"
    decoder = torch.load(refined) if refined.exists() else autoencoder
    print(
        f"transformer: step {saved['step']}, {saved['spent'] / 60:.0f} min, "
        f"{'finished' if saved['done'] else 'unfinished'}",
        flush=True,
    )
    out, quick = outs[0], FastTokenizer(words())
    text_encoder, transformer = TextEncoder(len(quick.vocab), LENGTH).eval(), VideoTransformer().eval()
    text_encoder.load_state_dict(torch.load(work / "text.pt")["text_encoder"])
    transformer.load_state_dict(saved["transformer"])
    (out / "tokenizer").mkdir(parents=True, exist_ok=True)
    build_tokenizer(words()).save(str(out / "tokenizer" / "tokenizer.json"))

    batch, length = Dim("batch", min=1, max=64), Dim("length", min=2, max=LENGTH)
    ids, mask = quick(["a large red circle moves to the left on a blue background", ""])
    export_network(
        text_encoder,
        {"input_ids": ids, "attention_mask": mask},
        "hidden_states",
        {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        out / "text_encoder" / "model.onnx",
        [{"input_ids": ids[:1, :12], "attention_mask": mask[:1, :12]}],
    )

    def transformer_input(b: int, frames: int, h: int, w: int, tokens: int) -> dict:
        mask = (torch.arange(tokens)[None] < torch.randint(2, tokens + 1, (b, 1))).long()
        return {
            "latents": torch.randn(b, 2 * LATENT_CHANNELS + MASK_CHANNELS, frames, h, w),
            "timestep": torch.rand(b) * 1000,
            "encoder_hidden_states": torch.randn(b, tokens, TEXT_WIDTH),
            "encoder_attention_mask": mask,
        }

    frames, rows, columns = (
        Dim("frames", min=1, max=FRAMES_MAX),
        PATCH * Dim("rows", min=1, max=16),
        PATCH * Dim("columns", min=1, max=16),
    )
    export_network(
        transformer,
        transformer_input(2, 5, 8, 14, LENGTH),
        "velocity",
        {
            "latents": {0: batch, 2: frames, 3: rows, 4: columns},
            "timestep": {0: batch},
            "encoder_hidden_states": {0: batch, 1: length},
            "encoder_attention_mask": {0: batch, 1: length},
        },
        out / "transformer" / "model.onnx",
        [
            transformer_input(1, 21, 14, 8, 9),
            transformer_input(3, 9, 8, 8, 12),
            transformer_input(1, 41, 8, 14, 9),
        ],
    )
    height, width = Dim("height", min=2, max=32), Dim("width", min=2, max=32)
    export_network(
        LatentDecoder(autoencoder, decoder).eval(),
        {"latents": torch.randn(2, LATENT_CHANNELS, 5, 8, 14)},
        "video",
        {"latents": {0: batch, 2: frames, 3: height, 4: width}},
        out / "vae_decoder" / "model.onnx",
        [{"latents": torch.randn(1, LATENT_CHANNELS, f, 14, 8)} for f in (1, 21)],
    )
    height, width = DOWNSCALE * Dim("rows8", min=2, max=32), DOWNSCALE * Dim("columns8", min=2, max=32)
    time = 4 * Dim("groups", min=0, max=FRAMES_MAX - 1) + 1
    export_network(
        LatentEncoder(autoencoder).eval(),
        {"video": torch.rand(2, 3, 17, 64, 112) * 2 - 1},
        "latents",
        {"video": {0: batch, 2: time, 3: height, 4: width}},
        out / "vae_encoder" / "model.onnx",
        [{"video": torch.rand(1, 3, t, 112, 64) * 2 - 1} for t in (1, 33)],
    )
    write_scheduler(out, SHIFT)
    for folder in outs:
        if folder != out:
            for part in ("tokenizer", "text_encoder", "transformer", "vae_decoder", "vae_encoder"):
                shutil.copytree(out / part, folder / part, dirs_exist_ok=True)
            write_scheduler(folder, SHIFT)
        write_evaluation(folder, evaluation(100, with_first=folder.parent.name == "image-to-video"))
        refresh_digests(folder / "model.yaml")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    export(Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]])
