"""python -m tempera_training picture [--work DIR] [--out DIR] [--autoencoder-minutes N] [--transformer-minutes N] [--decoder-minutes N]"""

import argparse
from pathlib import Path

import torch

from .autoencoder import encode_latents, refine_decoder, train_autoencoder
from .transformer import train_transformer

parser = argparse.ArgumentParser(prog="python -m tempera_training", description="Train a demonstration model from nothing, on a CPU.")
parser.add_argument("model", choices=["picture"])
parser.add_argument("--work", type=Path, default=Path("work"), help="checkpoints and latents; a run that is cut off goes on from here")
parser.add_argument("--out", type=Path, default=Path("../models/fal-ai/qwen-image/1.0.0"), help="the model folder to write")
parser.add_argument("--autoencoder-minutes", type=float, default=9)
parser.add_argument("--transformer-minutes", type=float, default=90)
parser.add_argument("--decoder-minutes", type=float, default=12)
parser.add_argument("--latents", type=int, default=32000, help="training scenes encoded")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--no-compile", action="store_true", help="skip torch.compile (needs a C++ compiler)")
parser.add_argument("--until", choices=["autoencoder", "latents", "transformer", "decoder", "export"], default="export")
a = parser.parse_args()

torch.set_num_threads(a.threads)
a.work.mkdir(parents=True, exist_ok=True)
train_autoencoder(a.work / "autoencoder.pt", a.autoencoder_minutes)
if a.until != "autoencoder":
    encode_latents(a.work / "autoencoder.pt", a.work / "latents.pt", a.latents)
if a.until in ("transformer", "decoder", "export"):
    train_transformer(a.work / "latents.pt", a.work / "transformer.pt", a.transformer_minutes, compiled=not a.no_compile)
if a.until in ("decoder", "export"):
    refine_decoder(a.work / "autoencoder.pt", a.work / "decoder.pt", a.decoder_minutes)
if a.until == "export":
    from .export import export

    export(a.work, a.out)
