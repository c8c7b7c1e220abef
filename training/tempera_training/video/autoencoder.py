"""The stages of the video autoencoder: its training, then the encoding of the training clips."""

import random
from pathlib import Path

import torch

from ..budget import Budget, warm_stable_decay
from ..checkpoints import save_whole
from ..scenes import collage
from .clips import NATIVE, TEMPORAL_STRIDE, render_clips, sample_clips
from .networks import LATENT_CHANNELS, VideoDecoder, VideoEncoder

PEAK_RATE = 2e-3
# (height, width, frames): encoded clips per ten thousand, share of the transformer's steps. All steps have
# about the same number of tokens.
BUCKETS = {
    (64, 112, 17): (2900, 0.34),
    (64, 112, 33): (1700, 0.20),
    (64, 112, 81): (420, 0.06),
    (64, 64, 17): (1900, 0.14),
    (64, 64, 33): (940, 0.07),
    (64, 64, 81): (280, 0.03),
    (112, 64, 17): (1300, 0.12),
    (112, 64, 33): (560, 0.04),
}


_CROP = 48


def _piece(b: int, rng: random.Random) -> torch.Tensor:
    """Draws nine frames of clips of several lengths, some from the start of the clip; one in six is a still
    collage.

    Three times in four only a square around the shape, since most of a frame is plain; `b` is the number of
    such squares, of whole frames there are fewer.
    """
    height, width = rng.choice(NATIVE)
    crop = _CROP if rng.random() < 0.75 else None
    b = b if crop else max(2, b * _CROP * _CROP // (height * width))
    frames = rng.choice([9, 17, 17, 33, 81])
    start = rng.randrange((frames - 9) // TEMPORAL_STRIDE + 1) * TEMPORAL_STRIDE
    drawn = b - b // 6
    clips = render_clips(
        sample_clips(drawn, rng, held_out=False),
        frames,
        height,
        width,
        rng,
        only=slice(start, start + 9),
        crop=crop,
    )
    height, width = clips.shape[3:]
    still = collage(b - drawn, max(height, width))[:, :, None, :height, :width].expand(-1, -1, 9, -1, -1)
    return torch.cat([clips, still])


def train_autoencoder(out: Path, minutes: float, batch: int = 18) -> None:
    """Minimises L1, image-gradient L1 and a light KL term. Resumes from `out`."""
    torch.manual_seed(0)
    encoder, decoder = VideoEncoder(), VideoDecoder()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK_RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    spent, step = 0.0, 0
    if out.exists():
        saved = torch.load(out)
        spent, step = saved["spent"], saved["step"]
        if saved["done"]:
            return
        (
            encoder.load_state_dict(saved["encoder"]),
            decoder.load_state_dict(saved["decoder"]),
            optimizer.load_state_dict(saved["optimizer"]),
        )
    rng, budget, share = random.Random(1 + step), Budget(minutes, spent), spent / (minutes * 60)

    def save(done: bool, **more) -> None:
        save_whole(
            {
                "encoder": encoder.state_dict(),
                "decoder": decoder.state_dict(),
                "optimizer": optimizer.state_dict(),
                "spent": budget.spent,
                "step": step,
                "done": done,
                **more,
            },
            out,
        )

    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * warm_stable_decay(step, share)
        x = _piece(batch, rng)
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = encoder(x).float().chunk(2, 1)
            log_variance = log_variance.clamp(-12, 6)
            y = decoder(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()).float()
        pixel = (y - x).abs().mean()
        gradient = (y.diff(dim=4) - x.diff(dim=4)).abs().mean() + (y.diff(dim=3) - x.diff(dim=3)).abs().mean()
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        optimizer.zero_grad()
        (pixel + 0.7 * gradient + 1e-3 * kl).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, share = step + 1, budget.tick()
        if step % 50 == 0:
            print(
                f"autoencoder step {step} {budget.spent:.0f}s l1 {pixel:.4f} "
                f"gradient {gradient:.4f} kl {kl:.3f}",
                flush=True,
            )
        if step % 200 == 0:
            save(done=False)
    with torch.no_grad():
        x = render_clips(sample_clips(48, rng, held_out=True), 17, 64, 112, rng)
        mean, log_variance = encoder(x).chunk(2, 1)
        y = decoder(mean).clamp(-1, 1)
    psnr = (10 * torch.log10(4 / (x - y).pow(2).mean((1, 2, 3, 4)))).mean().item()
    print(
        f"autoencoder done: {step} steps, PSNR {psnr:.1f} dB, "
        f"posterior std {(0.5 * log_variance).exp().mean((0, 2, 3, 4)).tolist()}",
        flush=True,
    )
    save(done=True, psnr=psnr, mean=mean.mean((0, 2, 3, 4)), std=mean.std((0, 2, 3, 4)))
    from PIL import Image

    sheet = torch.cat(
        [torch.cat([torch.cat(list(v[i].transpose(0, 1)[::2]), 2) for v in (x, y)], 1) for i in range(6)], 1
    )
    Image.fromarray(((sheet.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy()).save(
        out.with_suffix(".png")
    )


def encode_latents(autoencoder: Path, out: Path, count: int) -> None:
    """Encodes `count` training clips over the buckets.

    Saves {(H, W, T): (latents float16 [N,C,F,h,w], clips, free)}. Every other batch is of free clips, which
    start at the usual position of their motion.
    """
    if out.exists():
        return
    saved, encoder, rng = torch.load(autoencoder), VideoEncoder(), random.Random(77)
    encoder.load_state_dict(saved["encoder"])
    mean, std = (saved[k].view(1, -1, 1, 1, 1) for k in ("mean", "std"))
    data, budget = {}, Budget(1)
    with torch.no_grad():
        for (height, width, frames), (parts, _) in BUCKETS.items():
            latents, clips, free = [], [], []
            while len(clips) < count * parts / 10000:
                batch, custom = sample_clips(16, rng, held_out=False), len(clips) % 32 == 0
                with torch.autocast("cpu", torch.bfloat16):
                    z = encoder(render_clips(batch, frames, height, width, rng, free=custom))[
                        :, :LATENT_CHANNELS
                    ].float()
                latents.append(((z - mean) / std).half())
                clips += batch
                free += [custom] * 16
            data[(height, width, frames)] = (torch.cat(latents), clips, torch.tensor(free))
            budget.tick()
            print(f"latents {height}x{width}, {frames} frames: {len(clips)}, {budget.spent:.0f}s", flush=True)
    save_whole(data, out)


def refine_decoder(autoencoder: Path, out: Path, minutes: float, batch: int = 18) -> None:
    """Trains the decoder alone on drawn clips; the encoder, and so the latents, stay as they are.

    It can run after or beside the transformer. Latents get a little noise, since the transformer's are never
    exact. Resumes from `out`.
    """
    saved, encoder, decoder = torch.load(autoencoder), VideoEncoder(), VideoDecoder()
    encoder.load_state_dict(saved["encoder"]), decoder.load_state_dict(saved["decoder"])
    optimizer = torch.optim.AdamW(decoder.parameters(), PEAK_RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    spent, step = 0.0, 0
    if out.exists():
        state = torch.load(out)
        spent, step = state["spent"], state["step"]
        if state["done"]:
            return
        decoder.load_state_dict(state["decoder"]), optimizer.load_state_dict(state["optimizer"])
    rng, std, budget, share = (
        random.Random(5 + step),
        saved["std"].view(1, -1, 1, 1, 1),
        Budget(minutes, spent),
        spent / (minutes * 60),
    )
    torch.manual_seed(step)

    def save(done: bool) -> None:
        save_whole(
            {
                "decoder": decoder.state_dict(),
                "optimizer": optimizer.state_dict(),
                "spent": budget.spent,
                "step": step,
                "done": done,
            },
            out,
        )

    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * warm_stable_decay(step, share)
        x = _piece(batch, rng)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                z = encoder(x)[:, :LATENT_CHANNELS].float()
                z = z + torch.randn_like(z) * std * 0.2 * torch.rand(len(z), 1, 1, 1, 1)
            y = decoder(z).float()
        pixel = (y - x).abs().mean()
        gradient = (y.diff(dim=4) - x.diff(dim=4)).abs().mean() + (y.diff(dim=3) - x.diff(dim=3)).abs().mean()
        optimizer.zero_grad()
        (pixel + 0.7 * gradient).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        step, share = step + 1, budget.tick()
        if step % 50 == 0:
            print(
                f"decoder step {step} {budget.spent:.0f}s l1 {pixel:.4f} gradient {gradient:.4f}", flush=True
            )
        if step % 200 == 0:
            save(done=False)
    save(done=True)
