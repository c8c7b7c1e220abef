"""Drawn scenes, the training data of the image model.

A scene is one shape on a plain background. `Scene` is the description, `render` draws batches of scenes, and
`shape_distance` is the only definition of each shape (the judge in src/evaluation mirrors it).
"""

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

COLORS = {  # sRGB, 0..255
    "red": (220, 40, 40),
    "green": (40, 165, 70),
    "blue": (45, 85, 220),
    "yellow": (245, 215, 50),
    "purple": (140, 55, 180),
    "orange": (245, 135, 30),
    "pink": (250, 150, 190),
    "cyan": (60, 205, 220),
    "white": (245, 245, 245),
    "black": (20, 20, 24),
}
COLOR_NAMES = list(COLORS)
PALETTE = torch.tensor([COLORS[name] for name in COLOR_NAMES], dtype=torch.float32) / 127.5 - 1  # -1..1
SHAPES = ["circle", "square", "triangle", "ring", "heart", "cross"]
SIZES = {"small": 0.17, "medium": 0.25, "large": 0.36}  # radius / min(height, width)
POSITIONS = {"center": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}

# Native sizes (height, width): all near 64 transformer tokens of 32 x 32 pixels, one per family of aspect
# ratios.
BUCKETS = [(256, 256), (224, 288), (288, 224), (192, 352), (352, 192)]


@dataclass(frozen=True)
class Scene:
    shape: int
    color: int
    background: int
    size: int
    position: int

    def held_out(self) -> bool:
        """Tells whether the scene is held out: one in twelve (shape, colour, background) triples is never
        trained on.
        """
        return (self.shape * 7 + self.color * 5 + self.background * 3) % 12 == 0


def shape_distance(shape: str, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Computes a signed distance-like field, negative inside, of a shape of radius 1; u right, v down."""
    r = torch.hypot(u, v)
    match shape:
        case "circle":
            return r - 1
        case "square":
            return torch.maximum(u.abs(), v.abs()) - 0.88
        case "triangle":  # apex (0, -1), base from (-1.08, .85) to (1.08, .85)
            side = (1.85 * u.abs() - 1.08 * (v + 1)) / math.hypot(1.85, 1.08)
            return torch.maximum(side, v - 0.85)
        case "ring":
            return (r - 0.8).abs() - 0.23
        case "heart":  # a square standing on its corner, with half a disc on each upper side
            a, w = 0.85, v - 0.09
            corner = (u.abs() + w.abs() - a) / math.sqrt(2)
            lobe = torch.hypot(u.abs() - a / 2, w + a / 2) - a / math.sqrt(2)
            return torch.minimum(corner, lobe)
        case "cross":
            upright = torch.maximum(u.abs() - 0.34, v.abs() - 1)
            return torch.minimum(upright, torch.maximum(v.abs() - 0.34, u.abs() - 1))
    raise ValueError(f"unknown shape {shape}")


_EXTENT = 1.5  # the tables below cover -1.5..1.5 radii


def _tables(n: int = 192) -> torch.Tensor:
    axis = ((torch.arange(n) + 0.5) / n * 2 - 1) * _EXTENT
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([shape_distance(name, u, v) for name in SHAPES])[:, None]


_TABLES = _tables()


def sample_scene(rng: random.Random) -> Scene:
    color = rng.randrange(len(COLORS))
    return Scene(
        shape=rng.randrange(len(SHAPES)),
        color=color,
        background=rng.choice([c for c in range(len(COLORS)) if c != color]),
        size=rng.randrange(len(SIZES)),
        position=rng.randrange(len(POSITIONS)),
    )


def sample_scenes(n: int, rng: random.Random, held_out: bool) -> list[Scene]:
    scenes: list[Scene] = []
    while len(scenes) < n:
        scene = sample_scene(rng)
        if scene.held_out() == held_out:
            scenes.append(scene)
    return scenes


def draw_shapes(image: torch.Tensor, shape, color, cx, cy, radius, on) -> torch.Tensor:
    """Draws one shape per image: image [B,3,H,W] in -1..1, shape int [B], color [B,3], the rest float [B] in
    pixels.
    """
    _, _, height, width = image.shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    r = radius[:, None, None]
    grid = torch.stack([(x[None] - cx[:, None, None]) / r, (y[None] - cy[:, None, None]) / r], -1) / _EXTENT
    distance = F.grid_sample(_TABLES[shape], grid, padding_mode="border", align_corners=False)[:, 0] * r
    inside = (0.5 - distance).clamp(0, 1) * (grid.abs().amax(-1) < 1) * on[:, None, None]
    return torch.lerp(image, color[:, :, None, None].expand_as(image), inside[:, None])


def render(
    scenes: list[Scene], height: int, width: int, rng: random.Random, jitter: float = 0.03
) -> torch.Tensor:
    """Draws scenes with small random changes of position, size and colour: [B,3,height,width] in -1..1."""
    b, short = len(scenes), min(height, width)
    noise = torch.Generator().manual_seed(rng.randrange(2**31))
    background = PALETTE[[s.background for s in scenes]] + torch.randn(b, 3, generator=noise) * jitter
    color = (PALETTE[[s.color for s in scenes]] + torch.randn(b, 3, generator=noise) * jitter).clamp(-1, 1)
    image = background.clamp(-1, 1)[:, :, None, None].expand(b, 3, height, width).clone()
    positions = torch.zeros(3, b)  # cx, cy, radius
    for i, s in enumerate(scenes):
        radius = list(SIZES.values())[s.size] * short * rng.uniform(0.93, 1.07)
        dx, dy = list(POSITIONS.values())[s.position]
        reach = rng.uniform(0.8, 0.95)
        cx = width / 2 + dx * max(width / 2 - radius * 1.12, 0) * reach + rng.uniform(-0.03, 0.03) * short
        cy = height / 2 + dy * max(height / 2 - radius * 1.12, 0) * reach + rng.uniform(-0.03, 0.03) * short
        positions[:, i] = torch.tensor([cx, cy, radius])
    return draw_shapes(image, torch.tensor([s.shape for s in scenes]), color, *positions, torch.ones(b))


def collage(b: int, side: int) -> torch.Tensor:
    """Draws random shapes in random colours with gradients, so that the autoencoder learns more than the
    palette.
    """
    image = (torch.rand(b, 3, 1, 1) * 2 - 1).expand(b, 3, side, side).clone()
    for _ in range(3):
        image = draw_shapes(
            image,
            torch.randint(0, len(SHAPES), (b,)),
            torch.rand(b, 3) * 2 - 1,
            torch.rand(b) * side,
            torch.rand(b) * side,
            (0.08 + 0.5 * torch.rand(b) ** 2) * side,
            (torch.rand(b) < 0.8).float(),
        )
    ramp = torch.linspace(-1, 1, side)
    slope = torch.randn(b, 3, 1, 1) * ramp.view(1, 1, 1, side) + torch.randn(b, 3, 1, 1) * ramp.view(
        1, 1, side, 1
    )
    return (image + slope * 0.25 * (torch.rand(b, 1, 1, 1) < 0.3)).clamp(-1, 1)
