"""Stage 1: the autoencoder. Stage 2: the latents of the training scenes. Stage 4: a sharper decoder."""

import math
import random
import time
from pathlib import Path

import torch

from .checkpoints import save_whole
from .networks import LATENT_CHANNELS, Decoder, Encoder
from .scenes import BUCKETS, collage, render, sample_scenes

CROP = 128


def _batch(b: int, rng: random.Random) -> torch.Tensor:
    height, width = rng.choice(BUCKETS)
    scenes = render(sample_scenes(b * 2 // 3, rng, held_out=False), height, width, rng)
    y, x = rng.randrange(height - CROP + 1), rng.randrange(width - CROP + 1)
    return torch.cat([scenes[:, :, y : y + CROP, x : x + CROP], collage(b - b * 2 // 3, CROP)])


def train_autoencoder(out: Path, minutes: float, batch: int = 18) -> None:
    """Minimises L1, image-gradient L1 and a light KL term; AdamW, one cosine schedule. Resumes from `out`."""
    rng = random.Random(1)
    torch.manual_seed(0)
    encoder, decoder = Encoder(), Decoder()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    spent, step = 0.0, 0
    if out.exists():
        saved = torch.load(out)
        encoder.load_state_dict(saved["encoder"]), decoder.load_state_dict(saved["decoder"])
        spent, step = saved["spent"], saved["step"]
        if "optimizer" in saved:
            optimizer.load_state_dict(saved["optimizer"])
        if spent >= minutes * 60:
            return
    last = time.time()
    while spent < minutes * 60:
        rate = (
            2e-3
            * min(1, (step + 1) / 50)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent / (minutes * 60))))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = _batch(batch, rng)
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = encoder(x).float().chunk(2, 1)
            log_variance = log_variance.clamp(-12, 6)
            y = decoder(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()).float()
        pixel = (y - x).abs().mean()
        gradient = (y.diff(dim=3) - x.diff(dim=3)).abs().mean() + (y.diff(dim=2) - x.diff(dim=2)).abs().mean()
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        loss = pixel + 0.7 * gradient + 1e-3 * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, now = step + 1, time.time()
        spent, last = spent + now - last, now
        if step % 100 == 0:
            print(
                f"autoencoder step {step} {spent:.0f}s l1 {pixel:.4f} gradient {gradient:.4f} kl {kl:.3f}",
                flush=True,
            )
        if step % 500 == 0:
            _save(out, encoder, decoder, spent, step, optimizer=optimizer.state_dict())
    with torch.no_grad():
        x = render(sample_scenes(96, rng, held_out=True), 256, 256, rng)
        mean, log_variance = encoder(x).chunk(2, 1)
        y = decoder(mean).clamp(-1, 1)
        psnr = (10 * torch.log10(4 / (x - y).pow(2).mean((1, 2, 3)))).mean().item()
        print(
            f"autoencoder done: {step} steps, PSNR {psnr:.1f} dB, "
            f"posterior std {(0.5 * log_variance).exp().mean((0, 2, 3)).tolist()}"
        )
        _save(
            out, encoder, decoder, spent, step, psnr=psnr, mean=mean.mean((0, 2, 3)), std=mean.std((0, 2, 3))
        )
    from PIL import Image

    sheet = torch.cat([torch.cat(list(x[:8]), 2), torch.cat(list(y[:8]), 2)], 1)
    Image.fromarray(((sheet.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy()).save(
        out.with_suffix(".png")
    )


def _save(out: Path, encoder, decoder, spent, step, **more) -> None:
    save_whole(
        {
            "encoder": encoder.state_dict(),
            "decoder": decoder.state_dict(),
            "spent": spent,
            "step": step,
            **more,
        },
        out,
    )


def encode_latents(autoencoder: Path, out: Path, count: int) -> None:
    """Encodes `count` training scenes over the buckets.

    Saves {(H, W): (latents float16 [N,C,H/16,W/16], scenes)}.
    """
    if out.exists():
        return
    saved, encoder, rng = torch.load(autoencoder), Encoder(), random.Random(77)
    encoder.load_state_dict(saved["encoder"])
    mean, std = saved["mean"].view(1, -1, 1, 1), saved["std"].view(1, -1, 1, 1)
    share = {(256, 256): 0.30, (224, 288): 0.28, (288, 224): 0.14, (192, 352): 0.14, (352, 192): 0.14}
    data, started = {}, time.time()
    with torch.no_grad():
        for (height, width), part in share.items():
            latents, scenes = [], []
            while len(scenes) < count * part:
                batch = sample_scenes(64, rng, held_out=False)
                with torch.autocast("cpu", torch.bfloat16):
                    z = encoder(render(batch, height, width, rng))[:, :LATENT_CHANNELS].float()
                latents.append(((z - mean) / std).half())
                scenes += batch
            data[(height, width)] = (torch.cat(latents), scenes)
            print(f"latents {height}x{width}: {len(scenes)} in {time.time() - started:.0f}s", flush=True)
    torch.save(data, out)


def refine_decoder(autoencoder: Path, out: Path, minutes: float, batch: int = 12) -> None:
    """Trains the decoder alone on whole scenes; the encoder, and so the latents, stay as they are.

    It can run after or beside the transformer. Latents get a little noise, since the transformer's are never
    exact. Resumes from `out`.
    """
    saved, encoder, decoder = torch.load(autoencoder), Encoder(), Decoder()
    encoder.load_state_dict(saved["encoder"]), decoder.load_state_dict(saved["decoder"])
    optimizer = torch.optim.AdamW(decoder.parameters(), 1.5e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    spent, step = 0.0, 0
    if out.exists():
        state = torch.load(out)
        decoder.load_state_dict(state["decoder"])
        spent, step = state["spent"], state["step"]
        if spent >= minutes * 60:
            return
        optimizer.load_state_dict(state["optimizer"])
    rng, std, last = random.Random(5 + step), saved["std"].view(1, -1, 1, 1), time.time()
    torch.manual_seed(step)

    def save() -> None:
        save_whole(
            {
                "decoder": decoder.state_dict(),
                "optimizer": optimizer.state_dict(),
                "spent": spent,
                "step": step,
            },
            out,
        )

    while spent < minutes * 60:
        rate = (
            1.5e-3
            * min(1, (step + 1) / 50)
            * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * spent / (minutes * 60))))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        height, width = rng.choice(BUCKETS)
        x = render(sample_scenes(batch, rng, held_out=False), height, width, rng)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                z = encoder(x)[:, :LATENT_CHANNELS].float()
                z = z + torch.randn_like(z) * std * 0.25 * torch.rand(batch, 1, 1, 1)
            y = decoder(z).float()
        pixel = (y - x).abs().mean()
        gradient = (y.diff(dim=3) - x.diff(dim=3)).abs().mean() + (y.diff(dim=2) - x.diff(dim=2)).abs().mean()
        optimizer.zero_grad()
        (pixel + 0.7 * gradient).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        step, now = step + 1, time.time()
        spent, last = spent + now - last, now
        if step % 50 == 0:
            print(f"decoder step {step} {spent:.0f}s l1 {pixel:.4f} gradient {gradient:.4f}", flush=True)
        if step % 200 == 0:
            save()
    save()
