"""Trains the video transformer by rectified flow matching on encoded clips; the text encoder is frozen."""

import random
from pathlib import Path

import torch

from ..budget import Budget, warm_stable_decay
from ..checkpoints import save_whole
from ..networks import TextEncoder
from ..optimizers import begin_step, transformer_optimizers
from ..prompts import FastTokenizer
from .autoencoder import BUCKETS
from .networks import MASK_CHANNELS, PATCH, VideoTransformer
from .sentences import LENGTH, sentence, words

PEAK_RATE = 2e-3
TOKENS = 1800  # of a batch, for clips of any size and length


def noise_levels(b: int) -> torch.Tensor:
    """Draws logit-normal levels, biased to the noisy end that decides scene and motion; one tenth uniform."""
    sigma = torch.sigmoid(torch.randn(b) * 1.1 + 1.0)
    return torch.where(torch.rand(b) < 0.1, torch.rand(b), sigma)


def model_input(noisy: torch.Tensor, first: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Joins noisy latents, mask and condition latents in Wan's channel order.

    `given` bool [B]: the first latent frame is given.
    """
    b, _, frames, h, w = noisy.shape
    keep = given.to(noisy.dtype).view(b, 1, 1, 1, 1)
    mask = torch.zeros(b, MASK_CHANNELS, frames, h, w)
    mask[:, :, :1] = keep
    condition = torch.zeros_like(noisy)
    condition[:, :, :1] = first * keep
    return torch.cat([noisy, mask, condition], 1)


def train_transformer(text: Path, latents: Path, out: Path, minutes: float) -> None:
    """Trains with Muon (Jordan et al., 2024) for the blocks' matrices and AdamW for the rest.

    The prompt is dropped one time in ten (for guidance); the first frame is given to every clip that starts
    anywhere, and sometimes to the others; weights are averaged. Resumes from its last checkpoint.
    """
    data = torch.load(latents, weights_only=False)
    sizes = list(data)
    weights = [BUCKETS[size][1] for size in sizes]
    tokenizer = FastTokenizer(words())
    torch.manual_seed(0)
    text_encoder, transformer = TextEncoder(len(tokenizer.vocab), LENGTH).eval(), VideoTransformer()
    text_encoder.load_state_dict(torch.load(text)["text_encoder"])
    parameters = list(transformer.parameters())
    optimizers = transformer_optimizers(transformer.named_parameters(), PEAK_RATE)
    average = [p.detach().clone() for p in parameters]
    spent, step = 0.0, 0
    if out.exists():
        saved = torch.load(out)
        spent, step = saved["spent"], saved["step"]
        if saved["done"]:
            return
        transformer.load_state_dict(saved["raw"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        average = saved["average"]
        torch.manual_seed(step)
    rng, budget = random.Random(3 + step), Budget(minutes, spent)
    share = budget.spent / budget.total

    def save(done: bool) -> None:
        names = [name for name, _ in transformer.named_parameters()]
        save_whole(
            {
                "raw": transformer.state_dict(),
                "transformer": dict(zip(names, average)),
                "average": average,
                "optimizers": [o.state_dict() for o in optimizers],
                "spent": budget.spent,
                "step": step,
                "done": done,
            },
            out,
        )

    print(f"transformer {sum(p.numel() for p in parameters)} parameters", flush=True)
    total, saved_at = 0.0, budget.spent
    while share < 1:
        rate = PEAK_RATE * warm_stable_decay(step, share)
        begin_step(optimizers, rate)
        height, width, frames = size = rng.choices(sizes, weights)[0]
        clean, clips, free = data[size]
        b = max(2, round(TOKENS / (clean[0, 0].numel() / PATCH**2)))
        index = torch.randint(len(clips), (b,))
        x = clean[index].float()
        ids, mask = tokenizer(["" if rng.random() < 0.1 else sentence(clips[i], rng) for i in index.tolist()])
        sigma, noise = noise_levels(b), torch.randn_like(x)
        s = sigma.view(-1, 1, 1, 1, 1)
        joined = model_input((1 - s) * x + s * noise, x[:, :, :1], torch.rand(b) > 0.85 * free[index])
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                states = text_encoder(ids, mask).float()
            velocity = transformer(joined, sigma * 1000, states, mask)
        loss = (velocity.float() - (noise - x)).pow(2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        torch._foreach_lerp_(
            average, [p.detach() for p in parameters], 1 - min(0.998, (step + 10) / (step + 60))
        )
        total, step, share = total + loss.item(), step + 1, budget.tick()
        if step % 50 == 0:
            print(
                f"transformer step {step} {budget.spent:.0f}s loss {total / 50:.4f} rate {rate:.5f}",
                flush=True,
            )
            total = 0.0
        if budget.spent - saved_at > 60:
            save(done=False)
            saved_at = budget.spent
            budget.skip()
    save(done=True)
    print(f"transformer done: {step} steps", flush=True)
