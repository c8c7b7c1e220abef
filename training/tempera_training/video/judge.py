"""Judges clips by their pixels: background, colour, motion. The figures of the model card come from here.

python -m tempera_training.video.judge FOLDER [--frames N] [--steps N] [--guidance G] [--shift S]
    [--count N] [--sheet FILE]
runs the exported networks of the model folder on its evaluation.json.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F

from ..prompts import FastTokenizer
from ..scenes import COLOR_NAMES, PALETTE, SHAPES, draw_shapes
from .clips import TEMPORAL_STRIDE
from .networks import DOWNSCALE, LATENT_CHANNELS
from .sentences import words
from .transformer import model_input


def nearest_color(rgb: torch.Tensor) -> str:
    return COLOR_NAMES[int((PALETTE - rgb).norm(dim=1).argmin())]


def observe(video: torch.Tensor) -> dict:
    """Finds the attributes of a video [3,T,H,W] in -1..1.

    Background: the median of the pixels on the four edges over all frames. A pixel belongs to the shape when
    its distance from the background (Euclidean, -1..1) is above half the distance of the farthest pixel
    (quantile 0.9995 of the clip), and at least 0.25. Colour: the median of the shape's pixels. Position: the
    mean of the shape's pixels in each frame that has at least 6 of them. Motion: the median position of the
    last fifth of those frames against the first fifth; the larger of |dx| / width, |dy| / height decides, and
    below 0.08 there is none.
    """
    _, frames, height, width = video.shape
    edge = torch.cat(
        [
            video[:, :, 0].flatten(1),
            video[:, :, -1].flatten(1),
            video[:, :, :, 0].flatten(1),
            video[:, :, :, -1].flatten(1),
        ],
        1,
    )
    background = edge.median(1).values
    far = (video - background.view(3, 1, 1, 1)).norm(dim=0)
    inside = far > max(0.25, 0.5 * float(far.flatten().kthvalue(max(1, int(far.numel() * 0.9995))).values))
    seen = {
        "background": nearest_color(background),
        "color": None,
        "motion": None,
        "visible": 0.0,
        "area": [],
    }
    area = inside.sum((1, 2))
    shown = area >= 6
    seen["visible"], seen["area"] = shown.float().mean().item(), (area / (height * width)).tolist()
    if not shown.any():
        return seen
    seen["color"] = nearest_color(video[:, inside].median(1).values)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    cx, cy = ((inside * v).sum((1, 2))[shown] / area[shown] for v in (x / width, y / height))
    n = max(1, len(cx) // 5)
    dx, dy = ((v[-n:].median() - v[:n].median()).item() for v in (cx, cy))
    if max(abs(dx), abs(dy)) >= 0.08:
        seen["motion"] = (
            ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("up" if dy < 0 else "down")
        )
    seen["cx"], seen["cy"] = cx.tolist(), cy.tolist()
    return seen


def judge_shape(video: torch.Tensor) -> str | None:
    """Finds the shape whose drawing overlaps best with the foreground, over eight frames; None without a
    foreground.
    """
    _, frames, height, width = video.shape
    seen = observe(video)
    if seen["color"] is None:
        return None
    votes = torch.zeros(len(SHAPES))
    background = PALETTE[COLOR_NAMES.index(seen["background"])].view(3, 1, 1)
    ink = PALETTE[COLOR_NAMES.index(seen["color"])].view(3, 1, 1)
    axis = ink - background
    for t in range(0, frames, max(1, frames // 8)):
        cover = (((video[:, t] - background) * axis).sum(0) / axis.pow(2).sum()).clamp(0, 1)
        if cover.sum() < 6:
            continue
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        rows, columns = cover.amax(1) > 0.5, cover.amax(0) > 0.5
        if not rows.any() or not columns.any():
            continue
        top, bottom = rows.nonzero()[[0, -1]].flatten().tolist()
        left, right = columns.nonzero()[[0, -1]].flatten().tolist()
        # Extents of the shapes of radius 1: half the width, top and bottom of each.
        for i, (half, up, down) in enumerate(
            [(1, 1, 1), (0.88, 0.88, 0.88), (1.08, 1, 0.85), (1.03, 1.03, 1.03), (1.0, 0.93, 0.94), (1, 1, 1)]
        ):
            r = ((right + 1 - left) / (2 * half) + (bottom + 1 - top) / (up + down)) / 2
            cx, cy = (left + right + 1) / 2, top + r * up
            blank = torch.zeros(1, 3, height, width)
            one = draw_shapes(
                blank,
                torch.tensor([i]),
                torch.ones(1, 3),
                torch.tensor([cx]),
                torch.tensor([cy]),
                torch.tensor([r]),
                torch.ones(1),
            )[0, 0]
            votes[i] += torch.minimum(one, cover).sum() / torch.maximum(one, cover).sum()
    return SHAPES[int(votes.argmax())] if votes.max() > 0 else None


def ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """Computes the structural similarity (Wang et al., 2004) of two images [3,H,W] in -1..1: luma, 7 x 7 box
    window.
    """
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    x, y = (((v + 1) / 2 * weights).sum(0)[None, None] for v in (a, b))
    pool = lambda v: F.avg_pool2d(v, 7, 1)  # noqa: E731
    mx, my = pool(x), pool(y)
    vx, vy, cov = pool(x * x) - mx * mx, pool(y * y) - my * my, pool(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean().item()


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

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.run["vae_encoder"].run(None, {"video": image[:, :, None].numpy()})[0])

    def states(self, texts: list[str]):
        ids, mask = self.tokenizer(texts)
        longest = int(mask.sum(1).max())
        ids, mask = ids[:, :longest].contiguous(), mask[:, :longest].contiguous()
        return torch.from_numpy(
            self.run["text_encoder"].run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        ), mask

    def generate(
        self,
        prompts: list[str],
        frames: int,
        height: int,
        width: int,
        first: torch.Tensor | None,
        steps: int,
        guidance: float,
        shift: float,
        seed: int,
    ):
        """Generates videos [B,3,frames,height,width]; `first` [B,3,height,width] in -1..1 or None."""
        b, latent_frames = len(prompts), (frames - 1) // TEMPORAL_STRIDE + 1
        shape = (b, LATENT_CHANNELS, latent_frames, height // DOWNSCALE, width // DOWNSCALE)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        given = torch.full((b,), first is not None)
        condition = torch.zeros_like(x[:, :, :1]) if first is None else self.encode(first)
        texts = [self.states(prompts), self.states([""] * b)] if guidance != 1 else [self.states(prompts)]
        sigmas = torch.linspace(1, 0, steps + 1)
        sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
        for now, then in zip(sigmas[:-1], sigmas[1:]):
            joined = model_input(x, condition, given).numpy()
            velocity = [
                torch.from_numpy(
                    self.run["transformer"].run(
                        None,
                        {
                            "latents": joined,
                            "timestep": np.full(b, now * 1000, np.float32),
                            "encoder_hidden_states": h.numpy(),
                            "encoder_attention_mask": m.numpy(),
                        },
                    )[0]
                )
                for h, m in texts
            ]
            v = velocity[0] if len(velocity) == 1 else velocity[1] + guidance * (velocity[0] - velocity[1])
            x = x + (then - now) * v
        return torch.from_numpy(self.run["vae_decoder"].run(None, {"latents": x.numpy()})[0])


def first_frame(spec: dict) -> torch.Tensor:
    """Draws the input image of an evaluation entry: [1,3,height,width] in -1..1."""
    background = (
        PALETTE[COLOR_NAMES.index(spec["background"])]
        .view(1, 3, 1, 1)
        .expand(1, 3, spec["height"], spec["width"])
    )
    position = [torch.tensor([float(spec[k])]) for k in ("x", "y", "radius")]
    return draw_shapes(
        background,
        torch.tensor([SHAPES.index(spec["shape"])]),
        PALETTE[[COLOR_NAMES.index(spec["color"])]],
        *position,
        torch.ones(1),
    )


def contact_sheet(videos: list[torch.Tensor], path: Path, across: int = 12) -> None:
    from PIL import Image

    rows = [
        torch.cat([v[:, t] for t in torch.linspace(0, v.shape[1] - 1, across).round().long().tolist()], 2)
        for v in videos
    ]
    sheet = torch.cat(rows, 1).clamp(-1, 1)
    Image.fromarray(((sheet + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.5)
    parser.add_argument("--shift", type=float, default=5.0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--sheet", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    entries = json.loads((a.folder / "evaluation.json").read_text())[: a.count]
    pipeline, right, videos, close, wrong = (
        Pipeline(a.folder),
        {k: 0 for k in ("background", "color", "motion", "shape")},
        [],
        [],
        [],
    )
    for entry in entries:
        given = first_frame(entry["first"]) if "first" in entry else None
        height, width = (
            (entry["first"]["height"], entry["first"]["width"])
            if given is not None
            else (entry["height"], entry["width"])
        )
        video = pipeline.generate(
            [entry["prompt"]], a.frames, height, width, given, a.steps, a.guidance, a.shift, entry["seed"]
        )[0]
        seen = observe(video)
        for key in ("background", "color", "motion"):
            right[key] += seen[key] == entry[key]
        right["shape"] += judge_shape(video) == entry["shape"]
        if seen["motion"] != entry["motion"]:
            wrong.append((entry["prompt"], seen["motion"]))
        if given is not None:
            close.append(ssim(video[:, 0], given[0]))
        videos.append(video)
    print(
        {k: round(v / len(entries), 3) for k, v in right.items()},
        "SSIM of the first frame: mean %.3f, lowest %.3f" % (np.mean(close), min(close)) if close else "",
    )
    for prompt, seen in wrong:
        print("  motion", seen, "|", prompt)
    if a.sheet:
        contact_sheet([v for v in videos if v.shape[2:] == videos[0].shape[2:]][:14], a.sheet)


if __name__ == "__main__":
    main()
