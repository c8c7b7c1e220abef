"""The networks of the audio model, laid out like MMAudio's.

Text encoder, visual encoder, flow transformer over audio latents, audio autoencoder.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..networks import TEXT_WIDTH, Block, attention_bias
from .clips import SIDE
from .waveforms import BINS, FRAMES_PER_LATENT

LATENT_CHANNELS = 12
VISUAL_WIDTH = 128
_WIDE = 224
# A latent attends to those at most this far away (half a second): effects are local, so any length works.
REACH = 16


class AudioEncoder(nn.Module):
    """log spectrogram (standardised) [B,257,2A] -> mean and log-variance [B,2C,A]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(BINS * FRAMES_PER_LATENT, _WIDE, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(_WIDE, _WIDE, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(_WIDE, 2 * LATENT_CHANNELS, 3, padding=1),
        )

    def forward(self, spectrogram):
        b, bins, n = spectrogram.shape
        x = spectrogram.reshape(b, bins, n // FRAMES_PER_LATENT, FRAMES_PER_LATENT).permute(0, 3, 1, 2)
        return self.net(x.reshape(b, FRAMES_PER_LATENT * bins, n // FRAMES_PER_LATENT))


class AudioDecoder(nn.Module):
    """latents [B,C,A] -> log spectrogram (standardised) [B,257,2A]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(LATENT_CHANNELS, _WIDE, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(_WIDE, _WIDE, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(_WIDE, _WIDE, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(_WIDE, BINS * FRAMES_PER_LATENT, 3, padding=1),
        )

    def forward(self, latents):
        b, _, a = latents.shape
        return (
            self.net(latents)
            .reshape(b, FRAMES_PER_LATENT, BINS, a)
            .permute(0, 2, 3, 1)
            .reshape(b, BINS, a * FRAMES_PER_LATENT)
        )


class VisualEncoder(nn.Module):
    """frames [B,3,A,32,32] in -1..1, one for each audio latent -> visual_states [B,A,128].

    Colours carry no timing, so the input is the distance of each pixel from the colour along the edges of the
    clip, as a share of the farthest, and its change since the previous frame.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(48 * (SIDE // 8) ** 2, VISUAL_WIDTH),
        )
        self.time = nn.ModuleList(nn.Conv1d(VISUAL_WIDTH, VISUAL_WIDTH, 5, padding=2) for _ in range(3))
        self.norm = nn.LayerNorm(VISUAL_WIDTH)

    def forward(self, frames):
        b, _, a, height, width = frames.shape
        edge = torch.cat([frames[:, :, :, 0], frames[:, :, :, -1], frames[..., 0], frames[..., -1]], 3).mean(
            (2, 3)
        )
        far = (frames - edge[:, :, None, None, None]).abs().mean(1)  # [B,A,32,32]
        far = far / (far.amax((1, 2, 3), keepdim=True) + 0.05)
        changed = far - torch.cat([far[:, :1], far[:, :-1]], 1)
        x = (
            self.frame(torch.stack([far, changed], 2).reshape(-1, 2, height, width))
            .reshape(b, a, VISUAL_WIDTH)
            .transpose(1, 2)
        )
        for layer in self.time:
            x = x + layer(F.silu(x))
        return self.norm(x.transpose(1, 2))


class AudioTransformer(nn.Module):
    """Diffusion transformer over audio latents that predicts the velocity noise - data.

    latents [B,C,A], timestep float [B] in 0..1000, visual_states [B,A,128] (all 0: no video),
    encoder_hidden_states [B,L,128], encoder_attention_mask int64 [B,L] -> velocity [B,C,A]. Visual states are
    added latent by latent, like MMAudio's synchronisation features; attention reaches half a second either
    way.
    """

    def __init__(self, width: int = 128, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.width = width
        self.embed, self.visual = nn.Linear(LATENT_CHANNELS, width), nn.Linear(VISUAL_WIDTH, width)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled = nn.Linear(TEXT_WIDTH, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.text = nn.Linear(TEXT_WIDTH, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.table = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.out = nn.Linear(width, LATENT_CHANNELS)
        for layer in (self.out, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        half = width // heads // 2
        self.register_buffer(
            "time_frequencies", torch.exp(-math.log(10000) * torch.arange(64) / 64), persistent=False
        )
        self.register_buffer("rope_frequencies", 50.0 ** (-torch.arange(half) / half), persistent=False)

    def forward(self, latents, timestep, visual_states, encoder_hidden_states, encoder_attention_mask):
        x = self.embed(latents.transpose(1, 2)) + self.visual(visual_states)
        at = torch.arange(latents.shape[2], device=x.device, dtype=torch.float32)
        turn = at[:, None] * self.rope_frequencies
        near = ((at[:, None] - at[None]).abs() > REACH).float() * -1e4
        angle = timestep[:, None] * self.time_frequencies
        keep = encoder_attention_mask.to(x.dtype)[:, :, None]
        pooled = (encoder_hidden_states * keep).sum(1) / keep.sum(1)
        condition = self.time(torch.cat([angle.cos(), angle.sin()], -1)) + self.pooled(pooled)
        modulation = self.modulation(F.silu(condition)).view(-1, 6, self.width)
        text, bias = self.text(encoder_hidden_states), attention_bias(encoder_attention_mask, x.dtype)
        for block in self.blocks:
            x = block(x, modulation, text, bias, (turn.cos(), turn.sin()), near)
        shift, scale = (condition[:, None] + self.table).unbind(1)
        return self.out(self.norm(x) * (1 + scale[:, None]) + shift[:, None]).transpose(1, 2)
