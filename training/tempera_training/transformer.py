"""Stage 3: trains text encoder and transformer together, by rectified flow matching on latents."""

import math
import random
import time
from pathlib import Path

import torch

from .checkpoints import save_whole
from .networks import TextEncoder, Transformer
from .optimizers import begin_step, transformer_optimizers
from .prompts import LENGTH, FastTokenizer, sentence

PEAK_RATE = 1.5e-3


def _noise_levels(b: int) -> torch.Tensor:
    """Draws logit-normal levels (Esser et al., 2024), biased to the noisy end that decides the scene; a tenth
    uniform.
    """
    sigma = torch.sigmoid(torch.randn(b) * 1.1 + 0.4)
    return torch.where(torch.rand(b) < 0.1, torch.rand(b), sigma)


def train_transformer(
    latents: Path, out: Path, minutes: float, batch: int = 48, compiled: bool = True
) -> None:
    """Trains with Muon (Jordan et al., 2024) for the blocks' matrices and AdamW for the rest.

    One cosine schedule to zero over `minutes`; the prompt is dropped one time in ten (for guidance); weights
    are averaged. An interrupted run resumes from its last checkpoint (every two minutes) at the same point of
    the schedule; a checkpoint without optimizers is a warm start.
    """
    data = torch.load(latents, weights_only=False)
    sizes, weights = list(data), [len(data[size][1]) for size in data]
    tokenizer, rng = FastTokenizer(), random.Random(3)
    torch.manual_seed(0)
    text_encoder, transformer = TextEncoder(len(tokenizer.vocab), LENGTH), Transformer()
    parameters = [*text_encoder.parameters(), *transformer.parameters()]
    optimizers = transformer_optimizers(
        [*text_encoder.named_parameters(), *transformer.named_parameters()], PEAK_RATE
    )
    average = [p.detach().clone() for p in parameters]
    spent, step = 0.0, 0
    if out.exists():
        saved = torch.load(out)
        spent, step = saved["spent"], saved["step"]
        if saved["done"]:
            return
        (
            text_encoder.load_state_dict(saved["text_encoder_raw"]),
            transformer.load_state_dict(saved["transformer_raw"]),
        )
        for optimizer, state in zip(optimizers, saved.get("optimizers", [])):
            optimizer.load_state_dict(state)
        average, rng = saved["average"], random.Random(step)
        torch.manual_seed(step)

    def save(done: bool) -> None:
        raw = [p.detach().clone() for p in parameters]
        state = {
            "text_encoder_raw": {k: v.clone() for k, v in text_encoder.state_dict().items()},
            "transformer_raw": {k: v.clone() for k, v in transformer.state_dict().items()},
        }
        with torch.no_grad():
            for p, a in zip(parameters, average):
                p.copy_(a)
        state |= {
            "text_encoder": {k: v.clone() for k, v in text_encoder.state_dict().items()},
            "transformer": {k: v.clone() for k, v in transformer.state_dict().items()},
        }
        with torch.no_grad():
            for p, r in zip(parameters, raw):
                p.copy_(r)
        save_whole(
            {
                **state,
                "optimizers": [o.state_dict() for o in optimizers],
                "average": average,
                "spent": spent,
                "step": step,
                "done": done,
            },
            out,
        )

    predict = torch.compile(transformer, dynamic=False) if compiled else transformer
    print(
        f"text encoder {sum(p.numel() for p in text_encoder.parameters())}, "
        f"transformer {sum(p.numel() for p in transformer.parameters())} parameters"
    )
    budget, last, saved_at, total = minutes * 60, time.time(), spent, 0.0
    while spent < budget:
        rate = (
            PEAK_RATE
            * min(1, (step + 1) / 100)
            * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * spent / budget)))
        )
        begin_step(optimizers, rate)
        clean, scenes = data[rng.choices(sizes, weights)[0]]
        index = torch.randint(len(scenes), (batch,))
        x = clean[index].float()
        ids, mask = tokenizer(
            ["" if rng.random() < 0.1 else sentence(scenes[i], rng) for i in index.tolist()]
        )
        sigma, noise = _noise_levels(batch), torch.randn_like(x)
        s = sigma.view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = predict((1 - s) * x + s * noise, sigma * 1000, text_encoder(ids, mask), mask)
        loss = (velocity.float() - (noise - x)).pow(2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        decay = min(0.9985, (step + 10) / (step + 60))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        total, step, now = total + loss.item(), step + 1, time.time()
        spent, last = spent + now - last, now
        if step % 100 == 0:
            print(f"transformer step {step} {spent:.0f}s loss {total / 100:.4f} rate {rate:.5f}", flush=True)
            total = 0.0
        if spent - saved_at > 120:
            save(done=False)
            saved_at, last = spent, time.time()
    save(done=True)
    print(f"transformer done: {step} steps of {batch}", flush=True)
