"""The stages of the video model, in order."""

import random
from argparse import Namespace
from pathlib import Path

from ..attributes import train_text_encoder
from ..scenes import COLORS, SHAPES
from .autoencoder import encode_latents, refine_decoder, train_autoencoder
from .clips import MOTIONS, SIZES, sample_clips
from .sentences import LENGTH, sentence, words
from .transformer import train_transformer

STAGES = ["text", "autoencoder", "latents", "transformer", "decoder", "export"]
MINUTES = {"text": 2.0, "autoencoder": 10.0, "transformer": 25.0, "decoder": 6.0}
OUT = [
    "../models/fal-ai/wan/v2.2-a14b/text-to-video/1.0.0",
    "../models/fal-ai/wan/v2.2-a14b/image-to-video/1.0.0",
]


def _labelled_sentence(rng: random.Random) -> tuple[str, list[int]]:
    """Samples a sentence and its labels: shape, colour, background, size, motion."""
    clip = sample_clips(1, rng, held_out=False)[0]
    return sentence(clip, rng, full=True), [clip.shape, clip.color, clip.background, clip.size, clip.motion]


def train(a: Namespace, work: Path, stages: list[str], minutes: dict[str, float]) -> None:
    """Runs `stages` in the folder `work`; finished ones are skipped."""
    if "text" in stages:
        classes = [len(SHAPES), len(COLORS), len(COLORS), len(SIZES), len(MOTIONS)]
        train_text_encoder(work / "text.pt", words(), LENGTH, classes, _labelled_sentence, minutes["text"])
    if "autoencoder" in stages:
        train_autoencoder(work / "autoencoder.pt", minutes["autoencoder"])
    if "latents" in stages:
        encode_latents(work / "autoencoder.pt", work / "latents.pt", a.examples or 3000)
    if "transformer" in stages:
        train_transformer(
            work / "text.pt", work / "latents.pt", work / "transformer.pt", minutes["transformer"]
        )
    if "decoder" in stages:
        refine_decoder(work / "autoencoder.pt", work / "decoder.pt", minutes["decoder"])
    if "export" in stages:
        from .export import export

        export(work, a.out)
