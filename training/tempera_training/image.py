"""The stages of the image model, in order."""

from argparse import Namespace
from pathlib import Path

from .autoencoder import encode_latents, refine_decoder, train_autoencoder
from .transformer import train_transformer

STAGES = ["autoencoder", "latents", "transformer", "decoder", "export"]
MINUTES = {"autoencoder": 9.0, "transformer": 90.0, "decoder": 12.0}
OUT = ["../models/fal-ai/qwen-image/1.0.0"]


def train(a: Namespace, work: Path, stages: list[str], minutes: dict[str, float]) -> None:
    """Runs `stages` in the folder `work`; finished ones are skipped."""
    if "autoencoder" in stages:
        train_autoencoder(work / "autoencoder.pt", minutes["autoencoder"])
    if "latents" in stages:
        encode_latents(work / "autoencoder.pt", work / "latents.pt", a.examples or 32000)
    if "transformer" in stages:
        train_transformer(
            work / "latents.pt", work / "transformer.pt", minutes["transformer"], compiled=not a.no_compile
        )
    if "decoder" in stages:
        refine_decoder(work / "autoencoder.pt", work / "decoder.pt", minutes["decoder"])
    if "export" in stages:
        from .export import export

        export(work, a.out[0])
