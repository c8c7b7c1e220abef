"""Drawn clips: one shape on a plain background that moves in one of eight ways.

`u` is the time in the clip, 0 for the first frame and 1 for the last, whatever the number of frames.
"""

import random
from dataclasses import dataclass

import torch

from ..scenes import COLORS, PALETTE, SHAPES, Scene, draw_shapes

MOTIONS = ["left", "right", "up", "down", "bounce", "blink", "grow", "still"]
DIRECTIONS = MOTIONS[:4]
_WEIGHTS = [16, 16, 16, 16, 13, 9, 7, 7]
SIZES = {"small": 0.16, "medium": 0.23, "large": 0.31}  # radius / min(height, width)
TEMPORAL_STRIDE = 4

# Native sizes (height, width) for 16:9, 9:16 and 1:1.
NATIVE = [(64, 112), (112, 64), (64, 64)]


@dataclass(frozen=True)
class Clip:
    shape: int
    color: int
    background: int
    size: int
    motion: int

    def held_out(self) -> bool:
        """Tells whether the clip is held out, by the same (shape, colour, background) triples as images."""
        return Scene(self.shape, self.color, self.background, 0, 0).held_out()


def sample_clips(n: int, rng: random.Random, held_out: bool, motions: list[str] | None = None) -> list[Clip]:
    clips: list[Clip] = []
    while len(clips) < n:
        color = rng.randrange(len(COLORS))
        clip = Clip(
            shape=rng.randrange(len(SHAPES)),
            color=color,
            background=rng.choice([c for c in range(len(COLORS)) if c != color]),
            size=rng.randrange(len(SIZES)),
            motion=MOTIONS.index(rng.choice(motions))
            if motions
            else rng.choices(range(len(MOTIONS)), _WEIGHTS)[0],
        )
        if clip.held_out() == held_out:
            clips.append(clip)
    return clips


def bounce_height(
    u: torch.Tensor, fall: float, restitution: float = 0.75
) -> tuple[torch.Tensor, list[float]]:
    """Computes the height over the floor (1 at u = 0, 0 on the floor) of a shape that first lands at u =
    `fall`.

    Each landing multiplies the speed by `restitution`, so the k-th flight lasts 2 * fall * restitution**k and
    rises to restitution**(2k). Returns the heights and the landings up to u = 1.
    """
    height, landings = 1 - (u / fall) ** 2, []
    start, k = fall, 1
    while start <= 1:
        landings.append(start)
        length = 2 * fall * restitution**k
        phase = (u - start) / length
        height = torch.where(u >= start, 4 * restitution ** (2 * k) * phase * (1 - phase), height)
        start, k = start + length, k + 1
    return height.clamp(0, 1), landings


def trajectory(
    clip: Clip, frames: int, height: int, width: int, rng: random.Random, free: bool = False
) -> torch.Tensor:
    """Computes centre x, centre y, radius (pixels) and visibility (0 or 1) for each frame: [4, frames].

    With a given first frame the shape starts anywhere. Without one (`free`) it starts near the usual position
    of its motion: so small a model could not make all frames agree on a random position.
    """
    u = torch.linspace(0, 1, frames) if frames > 1 else torch.zeros(1)
    radius = list(SIZES.values())[clip.size] * min(height, width) * rng.uniform(0.95, 1.05)
    room = 0.1 if free else 0.9
    x = width / 2 + max(width / 2 - 1.1 * radius, 0) * rng.uniform(-room, room)
    y = height / 2 + max(height / 2 - 1.1 * radius, 0) * rng.uniform(-room, room)
    xs, ys, radii, on = (
        torch.full_like(u, x),
        torch.full_like(u, y),
        torch.full_like(u, radius),
        torch.ones_like(u),
    )
    motion = MOTIONS[clip.motion]
    if motion in DIRECTIONS:  # most of the way across; the shape may end partly outside
        start = rng.uniform(0.78, 0.82) if free else rng.uniform(0.25, 0.85)
        path = start + (min(0.2, start - 0.2) - start) * u
        if motion == "left":
            xs = width * path
        elif motion == "right":
            xs = width * (1 - path)
        elif motion == "up":
            ys = height * path
        else:
            ys = height * (1 - path)
    elif motion == "bounce":
        floor, top = height - radius, 1.1 * radius if free else rng.uniform(radius, max(radius, 0.5 * height))
        ys = floor - (floor - top) * bounce_height(u, rng.uniform(0.23, 0.25))[0]
    elif motion == "blink":  # on for the first half of each period
        on = ((u / rng.uniform(0.39, 0.41)) % 1 < 0.5).float()
    elif motion == "grow":
        radii = radius * (0.45 + 0.75 * u)
    return torch.stack([xs, ys, radii, on])


def render_clips(
    clips: list[Clip],
    frames: int,
    height: int,
    width: int,
    rng: random.Random,
    jitter: float = 0.03,
    only: slice = slice(None),
    crop: int | None = None,
    free: bool = False,
) -> torch.Tensor:
    """Draws clips of `frames` frames with small random changes of position, size, speed and colour.

    `only`: some of the frames. `crop`: the side in pixels of a square in or near which the shape is; its
    position differs between clips and is the same in all frames of a clip. `free`: without a given first
    frame, see `trajectory`. Returns [B,3,frames,height,width] in -1..1.
    """
    b = len(clips)
    noise = torch.Generator().manual_seed(rng.randrange(2**31))
    background = (PALETTE[[c.background for c in clips]] + torch.randn(b, 3, generator=noise) * jitter).clamp(
        -1, 1
    )
    color = (PALETTE[[c.color for c in clips]] + torch.randn(b, 3, generator=noise) * jitter).clamp(-1, 1)
    positions = torch.stack([trajectory(c, frames, height, width, rng, free) for c in clips], 1)[:, :, only]
    frames = positions.shape[2]
    if crop:
        for i, size in enumerate((width, height)):
            near = positions[i].mean(1) - crop / 2 + (torch.rand(b, generator=noise) - 0.5) * crop * 0.8
            positions[i] -= near.clamp(0, size - crop).round()[:, None]
        height = width = crop
    positions = positions.reshape(4, b * frames)
    canvas = background.repeat_interleave(frames, 0)[:, :, None, None].expand(b * frames, 3, height, width)
    shape = torch.tensor([c.shape for c in clips]).repeat_interleave(frames)
    video = draw_shapes(
        canvas,
        shape,
        color.repeat_interleave(frames, 0),
        positions[0],
        positions[1],
        positions[2],
        positions[3],
    )
    return video.view(b, frames, 3, height, width).transpose(1, 2)
