"""Trains a demonstration model.

python -m tempera_training {image,video,audio} [--work DIR] [--out DIR]...
    [--minutes STAGE=N]... [--until STAGE]
"""

import argparse
from pathlib import Path

import torch

from . import image
from .audio import stages as audio
from .video import stages as video

MODELS = {"image": image, "video": video, "audio": audio}

parser = argparse.ArgumentParser(
    prog="python -m tempera_training", description="Train a demonstration model from nothing, on a CPU."
)
parser.add_argument("model", choices=list(MODELS))
parser.add_argument(
    "--work",
    type=Path,
    help="checkpoints and latents; an interrupted run resumes from here (default: work/MODEL)",
)
parser.add_argument(
    "--out",
    type=Path,
    action="append",
    help="the model folder to write; the video model is written to each given folder",
)
parser.add_argument(
    "--minutes",
    action="append",
    default=[],
    metavar="STAGE=N",
    help="a budget for a stage other than its own",
)
parser.add_argument("--examples", type=int, help="training examples drawn and encoded")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument(
    "--no-compile", action="store_true", help="image: skip torch.compile (needs a C++ compiler)"
)
parser.add_argument("--only", metavar="STAGE", help="run this stage alone")
parser.add_argument("--until", metavar="STAGE", help="stop after this stage")
a = parser.parse_args()

model = MODELS[a.model]
minutes = model.MINUTES | {stage: float(n) for stage, n in (given.split("=") for given in a.minutes)}
for stage in [*minutes, *filter(None, [a.only, a.until])]:
    if stage not in model.STAGES:
        parser.error(f"{a.model} has no stage {stage}; its stages are {', '.join(model.STAGES)}")
stages = [a.only] if a.only else model.STAGES[: model.STAGES.index(a.until) + 1 if a.until else None]
a.out = a.out or [Path(folder) for folder in model.OUT]
work = a.work or Path("work") / a.model
torch.set_num_threads(a.threads)
work.mkdir(parents=True, exist_ok=True)
model.train(a, work, stages, minutes)
