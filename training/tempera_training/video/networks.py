"""The networks of the video model, laid out like Wan's.

Text encoder (as the image model's), 3-D transformer, 3-D autoencoder.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..networks import TEXT_WIDTH, Block, Residual, attention_bias
from .clips import TEMPORAL_STRIDE

LATENT_CHANNELS = 8
DOWNSCALE = 8  # pixels per latent, each way
PATCH = 2  # latents per transformer token, each way in space
MASK_CHANNELS = TEMPORAL_STRIDE  # one for each frame of a latent frame, as in Wan
FRAMES_MAX = 41  # latent frames: 161 frames


class VideoEncoder(nn.Module):
    """video [B,3,4(F-1)+1,H,W] in -1..1 -> mean and log-variance [B,2C,F,H/8,W/8].

    Four frames become the channels of one latent frame; the first frame is repeated to four. A latent frame
    depends on its own frames only, so the first frame alone encodes to the same latents as within a video.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(3 * TEMPORAL_STRIDE * 16, 64, 3, padding=1),
            nn.SiLU(),
            Residual(64),
            nn.Conv2d(64, 96, 3, 2, 1),
            Residual(96),
            Residual(96),
            nn.GroupNorm(8, 96),
            nn.SiLU(),
            nn.Conv2d(96, 2 * LATENT_CHANNELS, 3, padding=1),
        )

    def forward(self, video):
        b, _, _, height, width = video.shape
        first = video[:, :, :1]
        video = torch.cat([first, first, first, video], 2).transpose(1, 2)  # [B,4F,3,H,W]
        z = self.net(video.reshape(-1, 3 * TEMPORAL_STRIDE, height, width))
        return z.reshape(b, -1, 2 * LATENT_CHANNELS, height // DOWNSCALE, width // DOWNSCALE).transpose(1, 2)


class VideoDecoder(nn.Module):
    """latents [B,C,F,h,w] -> video [B,3,4(F-1)+1,8h,8w].

    Each latent frame is decoded with its two neighbours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3 * LATENT_CHANNELS, 112, 3, padding=1),
            Residual(112),
            Residual(112),
            nn.Conv2d(112, 4 * 64, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(64),
            Residual(64),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, 3 * TEMPORAL_STRIDE * 16, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, latents):
        b, channels, _, h, w = latents.shape
        before = torch.cat([latents[:, :, :1], latents[:, :, :-1]], 2)
        after = torch.cat([latents[:, :, 1:], latents[:, :, -1:]], 2)
        z = torch.cat([before, latents, after], 1).transpose(1, 2).reshape(-1, 3 * channels, h, w)
        return (
            self.net(z)
            .reshape(b, -1, 3, DOWNSCALE * h, DOWNSCALE * w)
            .transpose(1, 2)[:, :, TEMPORAL_STRIDE - 1 :]
        )


class VideoTransformer(nn.Module):
    """Diffusion transformer over latent frames, with full attention; predicts the velocity noise - data.

    latents [B,C+4+C,F,h,w] (noisy latents, mask, latents of the given frames; h, w even), timestep float [B]
    in 0..1000, encoder_hidden_states [B,L,128], encoder_attention_mask int64 [B,L] -> velocity [B,C,F,h,w].

    Time is encoded as the share of the clip, in the rotary embedding too: motions are spread over the length
    of a clip, so the model interpolates to lengths that it was not trained on.
    """

    def __init__(self, width: int = 128, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.width = width
        self.patchify = nn.Linear((2 * LATENT_CHANNELS + MASK_CHANNELS) * PATCH * PATCH, width)
        self.position = nn.Linear(50, width)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled = nn.Linear(TEXT_WIDTH, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.text = nn.Linear(TEXT_WIDTH, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.table = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.unpatchify = nn.Linear(width, LATENT_CHANNELS * PATCH * PATCH)
        for layer in (self.unpatchify, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer(
            "time_frequencies", torch.exp(-math.log(10000) * torch.arange(64) / 64), persistent=False
        )
        self.register_buffer("frame_frequencies", 50.0 ** (-torch.arange(6) / 6), persistent=False)
        self.register_buffer("rope_frequencies", 50.0 ** (-torch.arange(5) / 5), persistent=False)
        self.register_buffer(
            "position_frequencies", 2.0 ** (torch.arange(8) / 2 - 1) * math.pi / 2, persistent=False
        )

    def forward(self, latents, timestep, encoder_hidden_states, encoder_attention_mask):
        b, channels, frames, height, width = latents.shape
        rows, columns, p = height // PATCH, width // PATCH, PATCH
        x = (
            latents.reshape(b, channels, frames, rows, p, columns, p)
            .permute(0, 2, 3, 5, 1, 4, 6)
            .reshape(b, frames * rows * columns, channels * p * p)
        )
        rope, absolute = self.positions(frames, rows, columns, x)
        x = self.patchify(x) + self.position(absolute)
        angle = timestep[:, None] * self.time_frequencies
        keep = encoder_attention_mask.to(x.dtype)[:, :, None]
        pooled = (encoder_hidden_states * keep).sum(1) / keep.sum(1)
        condition = self.time(torch.cat([angle.cos(), angle.sin()], -1)) + self.pooled(pooled)
        modulation = self.modulation(F.silu(condition)).view(b, 6, self.width)
        text, bias = self.text(encoder_hidden_states), attention_bias(encoder_attention_mask, x.dtype)
        for block in self.blocks:
            x = block(x, modulation, text, bias, rope)
        shift, scale = (condition[:, None] + self.table).unbind(1)
        x = self.unpatchify(self.norm(x) * (1 + scale[:, None]) + shift[:, None])
        x = x.reshape(b, frames, rows, columns, LATENT_CHANNELS, p, p).permute(0, 4, 1, 2, 5, 3, 6)
        return x.reshape(b, LATENT_CHANNELS, frames, height, width)

    def positions(self, frames, rows, columns, like):
        def axis(n, dimension):
            shape = [1, 1, 1]
            shape[dimension] = n
            return (
                torch.arange(n, device=like.device, dtype=like.dtype)
                .view(shape)
                .expand(frames, rows, columns)
                .reshape(-1)
            )

        frame, row, column = axis(frames, 0), axis(rows, 1), axis(columns, 2)
        last = frame[-1:].clamp(min=1)
        share = frame / last
        angle = torch.cat(
            [
                8 * share[:, None] * self.frame_frequencies,
                row[:, None] * self.rope_frequencies,
                column[:, None] * self.rope_frequencies,
            ],
            -1,
        )
        t, y, x = (
            v[:, None] * self.position_frequencies
            for v in (share * 2 - 1, (row + 0.5) / rows * 2 - 1, (column + 0.5) / columns * 2 - 1)
        )
        given = torch.stack([(frame == 0).to(like.dtype), (last / 8).log() + 0 * frame], -1)
        return (angle.cos(), angle.sin()), torch.cat(
            [t.sin(), t.cos(), y.sin(), y.cos(), x.sin(), x.cos(), given], -1
        )
