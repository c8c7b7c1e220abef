"""Judges whether audible events match the visible ones. The figures of the model card come from here.

python -m tempera_training.audio.judge FOLDER [--steps N] [--cfg C] [--count N] [--wav FOLDER]
runs the exported networks of the model folder on its evaluation.json, at the API's defaults.
"""

import argparse
import json
import math
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from ..prompts import FastTokenizer
from ..scenes import COLOR_NAMES, SHAPES
from .clips import AudibleClip, frame_times, render_squashed
from .networks import LATENT_CHANNELS
from .sentences import words
from .waveforms import LATENTS_PER_SECOND, SAMPLE_RATE, griffin_lim, in_step, onsets


class Pipeline:
    """Runs the exported networks as the platform's runner does."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.run = {
            p.parent.name: onnxruntime.InferenceSession(p, options, providers=["CPUExecutionProvider"])
            for p in folder.glob("*/model.onnx")
        }
        self.tokenizer = FastTokenizer(words())

    def generate(
        self,
        frames: torch.Tensor | None,
        latents: int,
        prompt: str,
        negative: str,
        steps: int,
        cfg: float,
        seed: int,
    ) -> torch.Tensor:
        """Generates audio, 512 samples per latent; `frames` [3,latents,32,32] or None for no video."""
        visual_states = (
            np.zeros((1, latents, 128), np.float32)
            if frames is None
            else self.run["visual_encoder"].run(None, {"frames": frames[None].numpy()})[0]
        )
        x = torch.randn(1, LATENT_CHANNELS, latents, generator=torch.Generator().manual_seed(seed)).numpy()
        branches = [(visual_states, prompt, cfg), (np.zeros_like(visual_states), negative, 1 - cfg)]
        conditions = []
        for _, text, _ in branches:
            ids, mask = (v.numpy() for v in self.tokenizer([text]))
            conditions.append(
                (self.run["text_encoder"].run(None, {"input_ids": ids, "attention_mask": mask})[0], mask)
            )
        for i in range(steps):
            velocity = sum(
                weight
                * self.run["transformer"].run(
                    None,
                    {
                        "latents": x,
                        "timestep": np.array([1000 * (1 - i / steps)], np.float32),
                        "visual_states": seen,
                        "encoder_hidden_states": states,
                        "encoder_attention_mask": mask,
                    },
                )[0]
                for (seen, _, weight), (states, mask) in zip(branches, conditions)
            )
            x = (x - velocity / steps).astype(np.float32)
        return griffin_lim(torch.from_numpy(self.run["vae_decoder"].run(None, {"latents": x})[0]))[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--cfg", type=float, default=4.5)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--wav", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    entries, pipeline, right, by_action = (
        json.loads((a.folder / "evaluation.json").read_text())[: a.count],
        Pipeline(a.folder),
        0,
        Counter(),
    )
    for entry in entries:
        clip = AudibleClip(
            entry["action"],
            SHAPES.index(entry["shape"]),
            COLOR_NAMES.index(entry["color"]),
            COLOR_NAMES.index(entry["background"]),
            entry["radius"],
            entry["along"],
            tuple(entry["events"]),
            entry["before"],
            entry["longest"],
        )
        latents = math.ceil(entry["seconds"] * LATENTS_PER_SECOND)
        times, which = frame_times(entry["fps"], latents, LATENTS_PER_SECOND)
        frames = (
            render_squashed(clip, times, entry["height"], entry["width"], torch.zeros(2, 3))[which]
            .transpose(0, 1)
            .contiguous()
        )
        audio = pipeline.generate(frames, latents, entry["prompt"], "", a.steps, a.cfg, entry["seed"])[
            : round(entry["seconds"] * SAMPLE_RATE)
        ]
        heard = onsets(audio)
        ok = in_step(heard, clip.events)
        right += ok
        by_action[entry["action"], bool(ok)] += 1
        if not ok:
            print(
                f"  {entry['action']} {entry['color']} on {entry['background']}, {entry['prompt']!r}: "
                f"seen {list(clip.events)}, heard {[round(t, 2) for t in heard]}"
            )
        if a.wav:
            a.wav.mkdir(parents=True, exist_ok=True)
            with wave.open(str(a.wav / f"{entry['seed']:03}.wav"), "wb") as out:
                out.setnchannels(1), out.setsampwidth(2), out.setframerate(SAMPLE_RATE)
                out.writeframes((audio.clamp(-1, 1) * 32767).short().numpy().tobytes())
    print(f"in step: {right} of {len(entries)}", dict(by_action))


if __name__ == "__main__":
    main()
