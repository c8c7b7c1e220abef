"""The networks of the image model, laid out like Qwen-Image's components."""

import math

import torch
import torch.nn.functional as F
from torch import nn

LATENT_CHANNELS = 4
DOWNSCALE = 16  # pixels per latent, each way
PATCH = 2  # latents per transformer token, each way
TEXT_WIDTH = 128


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x):
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Encoder(nn.Module):
    """image [B,3,H,W] in -1..1 -> mean and log-variance [B,2C,H/16,W/16]; fully convolutional."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            Residual(64),
            nn.Conv2d(64, 96, 3, 2, 1),
            Residual(96),
            Residual(96),
            nn.GroupNorm(8, 96),
            nn.SiLU(),
            nn.Conv2d(96, 2 * LATENT_CHANNELS, 3, padding=1),
        )

    def forward(self, image):
        return self.net(image)


class Decoder(nn.Module):
    """latents [B,C,h,w] -> image [B,3,16h,16w]; upsampling by pixel shuffle keeps it fast on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 128, 3, padding=1),
            Residual(128),
            Residual(128),
            Residual(128),
            nn.Conv2d(128, 4 * 64, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(64),
            Residual(64),
            nn.SiLU(),
            nn.Conv2d(64, 4 * 40, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(40),
            nn.GroupNorm(8, 40),
            nn.SiLU(),
            nn.Conv2d(40, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, latents):
        return self.net(latents)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        self.q_norm, self.k_norm = nn.RMSNorm(width // heads, eps=1e-6), nn.RMSNorm(width // heads, eps=1e-6)

    def forward(self, x, context=None, bias=None, rope=None):
        context = x if context is None else context
        b, n, width = x.shape
        q = self.q_norm(self.q(x).view(b, n, self.heads, -1)).transpose(1, 2)
        k, v = self.kv(context).view(b, context.shape[1], 2, self.heads, -1).unbind(2)
        k, v = self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        return self.out(attend(q, k, v, bias).transpose(1, 2).reshape(b, n, width))


def attend(q, k, v, bias=None):
    """Softmax attention of [B,heads,N,d], written out.

    torch's fused attention takes five times as long backward in bfloat16 on a CPU.
    """
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    return (scores if bias is None else scores + bias).softmax(-1) @ v


def rotate(x, rope):
    """Applies rotary position embedding (Su et al., 2021) in real form: ONNX has no complex numbers."""
    cos, sin = rope
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
    )


def attention_bias(mask, dtype):
    return ((1 - mask.to(dtype)) * -1e4)[:, None, None, :]


class TextEncoder(nn.Module):
    """input_ids, attention_mask int64 [B,L] -> hidden_states [B,L,128]."""

    def __init__(self, vocabulary: int, length: int, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, TEXT_WIDTH)
        self.position = nn.Parameter(torch.randn(length, TEXT_WIDTH) * 0.02)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(TEXT_WIDTH),
                    Attention(TEXT_WIDTH, heads),
                    nn.LayerNorm(TEXT_WIDTH),
                    mlp(TEXT_WIDTH),
                ]
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        nn.init.normal_(self.token.weight, std=0.5)

    def forward(self, input_ids, attention_mask):
        x = self.token(input_ids) + self.position[: input_ids.shape[1]]
        bias = attention_bias(attention_mask, x.dtype)
        for norm1, attention, norm2, feed_forward in self.blocks:
            x = x + attention(norm1(x), bias=bias)
            x = x + feed_forward(norm2(x))
        return self.norm(x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross_attention = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width, elementwise_affine=False)
        self.feed_forward = mlp(width)
        self.table = nn.Parameter(torch.randn(6, width) * width**-0.5)

    def forward(self, x, modulation, text, text_bias, rope, bias=None):
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).unbind(1)
        x = x + gate1[:, None] * self.self_attention(
            self.norm1(x) * (1 + scale1[:, None]) + shift1[:, None], bias=bias, rope=rope
        )
        x = x + self.cross_attention(self.norm2(x), text, text_bias)
        return x + gate2[:, None] * self.feed_forward(self.norm3(x) * (1 + scale2[:, None]) + shift2[:, None])


class Transformer(nn.Module):
    """Diffusion transformer (Peebles & Xie, 2023) that predicts the velocity noise - data.

    latents [B,C,h,w] (h, w even), timestep float [B] in 0..1000, encoder_hidden_states [B,L,128],
    encoder_attention_mask int64 [B,L] -> velocity [B,C,h,w]. The mean of the text states is added to the time
    embedding: so small a model learns the scene's class several times faster that way than through
    cross-attention alone.
    """

    def __init__(self, width: int = 128, depth: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.width, tokens_in = width, LATENT_CHANNELS * PATCH * PATCH
        self.patchify, self.position = nn.Linear(tokens_in, width), nn.Linear(32, width)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled = nn.Linear(TEXT_WIDTH, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.text = nn.Linear(TEXT_WIDTH, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.table = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.unpatchify = nn.Linear(width, tokens_in)
        for layer in (self.unpatchify, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        quarter = width // heads // 4
        self.register_buffer(
            "time_frequencies", torch.exp(-math.log(10000) * torch.arange(64) / 64), persistent=False
        )
        self.register_buffer(
            "rope_frequencies", 100.0 ** (-torch.arange(quarter) / quarter), persistent=False
        )
        self.register_buffer(
            "position_frequencies", 2.0 ** (torch.arange(8) / 2 - 1) * math.pi / 2, persistent=False
        )

    def forward(self, latents, timestep, encoder_hidden_states, encoder_attention_mask):
        b, channels, height, width = latents.shape
        rows, columns, p = height // PATCH, width // PATCH, PATCH
        x = (
            latents.reshape(b, channels, rows, p, columns, p)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(b, rows * columns, -1)
        )
        rope, absolute = self.positions(rows, columns, x)
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
        return (
            x.reshape(b, rows, columns, channels, p, p)
            .permute(0, 3, 1, 4, 2, 5)
            .reshape(b, channels, height, width)
        )

    def positions(self, rows, columns, like):
        row = (
            torch.arange(rows, device=like.device, dtype=like.dtype)[:, None]
            .expand(rows, columns)
            .reshape(-1)
        )
        column = (
            torch.arange(columns, device=like.device, dtype=like.dtype)[None]
            .expand(rows, columns)
            .reshape(-1)
        )
        angle = torch.cat([row[:, None] * self.rope_frequencies, column[:, None] * self.rope_frequencies], -1)
        y = ((row + 0.5) / rows * 2 - 1)[:, None] * self.position_frequencies
        x = ((column + 0.5) / columns * 2 - 1)[:, None] * self.position_frequencies
        return (angle.cos(), angle.sin()), torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], -1)
