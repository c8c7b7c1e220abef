"""Last stage: exports the audio networks as ONNX files.

python -m tempera_training.audio.export WORK OUT
An unfinished transformer.pt is accepted; its averaged weights are used.
"""

import logging
import random
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
from .clips import SIDE, sample_audible_clip
from .networks import LATENT_CHANNELS, VISUAL_WIDTH, AudioDecoder, AudioTransformer, VisualEncoder
from .sentences import LENGTH, sentence, words
from .waveforms import EFFECTS
from .training import RATES

LATENTS_MAX = 1024  # 32.8 s


class SpectrogramDecoder(nn.Module):
    """latents [B,C,A] of zero mean and unit variance -> ln(magnitude + LOG_FLOOR) [B,257,2A]."""

    def __init__(self, autoencoder: dict) -> None:
        super().__init__()
        self.decoder = AudioDecoder()
        self.decoder.load_state_dict(autoencoder["decoder"])
        self.middle, self.spread = float(autoencoder["middle"]), float(autoencoder["spread"])
        self.register_buffer("mean", autoencoder["mean"].view(1, -1, 1))
        self.register_buffer("std", autoencoder["std"].view(1, -1, 1))

    def forward(self, latents):
        return self.decoder(latents * self.std + self.mean) * self.spread + self.middle


def evaluation(count: int, seed: int = 20262) -> list[dict]:
    """Samples clips of 1 to 12 s to draw, with the times of their audible events."""
    rng, entries = random.Random(seed), []
    for i in range(1, count + 1):
        seconds = rng.choice([1.5, 2, 3, 4, 4, 5, 6, 8, 8, 12])
        clip = sample_audible_clip(rng, seconds)
        effect = rng.choice([None, None, *EFFECTS])
        width, height = rng.choice([(128, 72), (112, 64), (96, 96), (64, 112)])
        entries.append(
            {
                "prompt": sentence(clip, effect, rng),
                "seed": i,
                "seconds": seconds,
                "fps": rng.choice([f for f in RATES if f >= 12]),
                "width": width,
                "height": height,
                "action": clip.action,
                "shape": SHAPES[clip.shape],
                "color": COLOR_NAMES[clip.color],
                "background": COLOR_NAMES[clip.background],
                "radius": round(clip.radius, 3),
                "along": round(clip.along, 3),
                "events": list(clip.events),
                "before": clip.before,
                "longest": clip.longest,
            }
        )
    return entries


def export(work: Path, out: Path) -> None:
    """Reads text.pt, autoencoder.pt and transformer.pt of `work`; writes the model folder `out`."""
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.manual_seed(0)
    saved, quick = torch.load(work / "transformer.pt"), FastTokenizer(words())
    print(
        f"transformer: step {saved['step']}, {saved['spent'] / 60:.0f} min, "
        f"{'finished' if saved['done'] else 'unfinished'}",
        flush=True,
    )
    text_encoder, visual, transformer = (
        TextEncoder(len(quick.vocab), LENGTH).eval(),
        VisualEncoder().eval(),
        AudioTransformer().eval(),
    )
    text_encoder.load_state_dict(torch.load(work / "text.pt")["text_encoder"])
    for name, network in (("visual_encoder", visual), ("transformer", transformer)):
        network.load_state_dict(
            {k.removeprefix(f"{name}."): v for k, v in saved["networks"].items() if k.startswith(f"{name}.")}
        )
    (out / "tokenizer").mkdir(parents=True, exist_ok=True)
    build_tokenizer(words()).save(str(out / "tokenizer" / "tokenizer.json"))

    batch, length, latents = (
        Dim("batch", min=1, max=64),
        Dim("length", min=2, max=LENGTH),
        Dim("latents", min=2, max=LATENTS_MAX),
    )
    ids, mask = quick(["a red circle bounces on the floor, the sound of a bell", ""])
    export_network(
        text_encoder,
        {"input_ids": ids, "attention_mask": mask},
        "hidden_states",
        {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        out / "text_encoder" / "model.onnx",
        [{"input_ids": ids[:1, :12], "attention_mask": mask[:1, :12]}],
    )
    export_network(
        visual,
        {"frames": torch.rand(2, 3, 64, SIDE, SIDE) * 2 - 1},
        "visual_states",
        {"frames": {0: batch, 2: latents}},
        out / "visual_encoder" / "model.onnx",
        [{"frames": torch.rand(1, 3, a, SIDE, SIDE) * 2 - 1} for a in (32, 250)],
    )

    def transformer_input(b: int, a: int, tokens: int) -> dict:
        mask = (torch.arange(tokens)[None] < torch.randint(2, tokens + 1, (b, 1))).long()
        return {
            "latents": torch.randn(b, LATENT_CHANNELS, a),
            "timestep": torch.rand(b) * 1000,
            "visual_states": torch.randn(b, a, VISUAL_WIDTH),
            "encoder_hidden_states": torch.randn(b, tokens, TEXT_WIDTH),
            "encoder_attention_mask": mask,
        }

    export_network(
        transformer,
        transformer_input(2, 64, LENGTH),
        "velocity",
        {
            "latents": {0: batch, 2: latents},
            "timestep": {0: batch},
            "visual_states": {0: batch, 1: latents},
            "encoder_hidden_states": {0: batch, 1: length},
            "encoder_attention_mask": {0: batch, 1: length},
        },
        out / "transformer" / "model.onnx",
        [transformer_input(1, 250, 9), transformer_input(3, 33, 12)],
    )
    export_network(
        SpectrogramDecoder(torch.load(work / "autoencoder.pt")).eval(),
        {"latents": torch.randn(2, LATENT_CHANNELS, 64)},
        "spectrogram",
        {"latents": {0: batch, 2: latents}},
        out / "vae_decoder" / "model.onnx",
        [{"latents": torch.randn(1, LATENT_CHANNELS, a)} for a in (32, 250)],
    )
    write_scheduler(out)
    write_evaluation(out, evaluation(100))
    refresh_digests(out / "model.yaml")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    export(Path(sys.argv[1]), Path(sys.argv[2]))
