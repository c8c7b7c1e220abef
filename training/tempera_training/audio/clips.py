"""Drawn clips with audible events: a shape bounces, runs between the walls, flashes, or does nothing.

An *event* is a time, in seconds, at which the shape hits something or appears. The position of the shape at
any time (`position`) and the audio (`waveforms.render_audio`) follow from the events.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..scenes import _EXTENT, _TABLES, COLORS, PALETTE, SHAPES

ACTIONS = ["bounce", "walls", "blink", "quiet"]
SIDE = 32  # pixels of a frame as the audio model sees it, each way


@dataclass(frozen=True)
class AudibleClip:
    """One clip. Lengths are shares of the shorter side of a frame; times are in seconds."""

    action: str
    shape: int
    color: int
    background: int
    radius: float
    # Position on the axis that it does not move along (bounce: x; walls: y; else both), 0..1 of the free
    # space.
    along: float
    events: tuple[float, ...]
    # Bounce and walls: seconds from the beginning of the flight to the first event; blink: visible until this
    # time (0: invisible).
    before: float
    # Bounce: a flight of this many seconds would reach the ceiling; blink: visible this long after each
    # event.
    longest: float


def sample_audible_clip(rng: random.Random, seconds: float, action: str | None = None) -> AudibleClip:
    action = action or rng.choices(ACTIONS, [40, 22, 26, 12])[0]
    color = rng.randrange(len(COLORS))
    background = rng.choice([c for c in range(len(COLORS)) if c != color])
    events: list[float] = []
    before = longest = 0.0
    slow = rng.random() < 0.3
    if action in ("bounce", "walls"):
        before = rng.uniform(0.35, 2.0 if slow else 0.9)
        time = before * rng.uniform(0.3, 1.0)
        longest = max(before, rng.uniform(0.8, 2.2 if slow else 1.4))
        shortest = max(0.28, 0.35 * longest)  # a lower bounce would be invisible
        kept = rng.choice([1.0, 1.0, rng.uniform(0.6, 0.95)])  # each flight this much shorter than the last
        flight = before
        while time < seconds - 0.12 and flight >= shortest:
            events.append(time)
            flight = (
                flight * kept if kept < 1 else min(longest, max(shortest, flight * rng.uniform(0.75, 1.3)))
            )
            time += flight
    elif action == "blink":
        longest = rng.uniform(0.15, 0.6 if slow else 0.3)
        before = rng.choice([0.0, rng.uniform(0.1, 0.6)])
        time = before + rng.uniform(0.15, 0.7)
        while time < seconds - 0.12:
            events.append(time)
            time += longest + rng.uniform(0.2, 1.2 if slow else 0.6)
    return AudibleClip(
        action,
        rng.randrange(len(SHAPES)),
        color,
        background,
        rng.uniform(0.12, 0.3),
        rng.random(),
        tuple(round(t, 3) for t in events),
        round(before, 3),
        round(longest, 3),
    )


def position(clip: AudibleClip, times: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Computes centre x, centre y (pixels) and visibility (0 or 1) at `times`: [3, len(times)]."""
    r = clip.radius * min(height, width)
    left, right, top, floor = r, width - r, r, height - r
    x, y = (
        torch.full_like(times, left + clip.along * (right - left)),
        torch.full_like(times, top + clip.along * (floor - top)),
    )
    on = torch.ones_like(times)
    if clip.action == "bounce":
        y = torch.full_like(times, floor)  # after the last event it rests on the floor
        starts = [clip.events[0] - clip.before, *clip.events[:-1]] if clip.events else []
        for start, end in zip(starts, clip.events):
            p = (times - start) / (end - start)
            rise = min(1.0, ((end - start) / clip.longest) ** 2)
            y = torch.where(
                (times >= start) & (times < end), floor - (floor - top) * rise * 4 * p * (1 - p), y
            )
    elif (
        clip.action == "walls"
    ):  # event 0 is on the right wall, event 1 on the left, and so on; it rests at the last
        sides = [right if i % 2 == 0 else left for i in range(len(clip.events))]
        x = torch.full_like(times, sides[-1] if sides else left)
        starts = [clip.events[0] - clip.before, *clip.events[:-1]] if clip.events else []
        for i, (start, end) in enumerate(zip(starts, clip.events)):
            p = (times - start) / (end - start)
            x = torch.where(
                (times >= start) & (times < end), (left + right - sides[i]) * (1 - p) + sides[i] * p, x
            )
    elif clip.action == "blink":
        on = (times < clip.before).float()
        for event in clip.events:
            on = torch.maximum(on, ((times >= event) & (times < event + clip.longest)).float())
    return torch.stack([x, y, on])


def frame_times(fps: float, latents: int, latents_per_second: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives the times of the frames that are visible at the latents, and for each latent the index among
    them.
    """
    index = torch.floor(torch.arange(latents) / latents_per_second * fps + 1e-4).long()
    shown, which = torch.unique(index, return_inverse=True)
    return shown / fps, which


def render_squashed(
    clip: AudibleClip, times: torch.Tensor, height: int, width: int, jitter: torch.Tensor
) -> torch.Tensor:
    """Draws the frames at `times` of a clip of height x width pixels, squashed: [len(times),3,SIDE,SIDE] in
    -1..1.

    `jitter` [2,3] shifts the colours of shape and background.
    """
    fine = 2 * SIDE
    x, y, on = position(clip, times, height, width)
    r = clip.radius * min(height, width)
    axis = (torch.arange(fine) + 0.5) / fine
    u = (axis[None] * width - x[:, None]) / r
    v = (axis[None] * height - y[:, None]) / r
    grid = torch.stack([u[:, None, :].expand(-1, fine, -1), v[:, :, None].expand(-1, -1, fine)], -1) / _EXTENT
    distance = F.grid_sample(
        _TABLES[clip.shape].expand(len(times), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )[:, 0]
    inside = (
        (0.5 - distance * r * fine / max(height, width)).clamp(0, 1)
        * (grid.abs().amax(-1) < 1)
        * on[:, None, None]
    )
    color, ground = (
        (PALETTE[c] + j).clamp(-1, 1).view(1, 3, 1, 1) for c, j in zip((clip.color, clip.background), jitter)
    )
    return F.avg_pool2d(ground + (color - ground) * inside[:, None], 2)
