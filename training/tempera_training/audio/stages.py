"""The stages of the audio model, in order."""

import random
from argparse import Namespace
from pathlib import Path

from ..attributes import train_text_encoder
from .clips import sample_audible_clip
from .sentences import LENGTH, labels, sentence, words
from .waveforms import EFFECTS
from .training import draw_examples, train_autoencoder, train_transformer

STAGES = ["text", "examples", "autoencoder", "transformer", "export"]
MINUTES = {"text": 1.0, "autoencoder": 3.0, "transformer": 12.0}
OUT = ["../models/fal-ai/mmaudio-v2/1.0.0"]


def _labelled_sentence(rng: random.Random) -> tuple[str, list[int]]:
    """Samples a sentence and the label of the effect that it requests."""
    clip, effect = sample_audible_clip(rng, 2), rng.choice([None, *EFFECTS])
    return sentence(clip, effect, rng), labels(clip, effect)


def train(a: Namespace, work: Path, stages: list[str], minutes: dict[str, float]) -> None:
    """Runs `stages` in the folder `work`; finished ones are skipped."""
    if "text" in stages:
        train_text_encoder(
            work / "text.pt", words(), LENGTH, [len(EFFECTS) + 1], _labelled_sentence, minutes["text"]
        )
    if "examples" in stages:
        draw_examples(work / "examples.pt", a.examples or 5000)
    if "autoencoder" in stages:
        train_autoencoder(work / "examples.pt", work / "autoencoder.pt", minutes["autoencoder"])
    if "transformer" in stages:
        train_transformer(
            work / "examples.pt",
            work / "autoencoder.pt",
            work / "text.pt",
            work / "transformer.pt",
            minutes["transformer"],
        )
    if "export" in stages:
        from .export import export

        export(work, a.out[0])
