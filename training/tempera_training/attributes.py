"""Trains a text encoder alone, to classify the attributes that a sentence names.

Seconds of work save the transformer most of its learning: it then conditions on states that already separate
colours, shapes and motions. The encoder is frozen afterwards.
"""

import random
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from .budget import Budget, warm_stable_decay
from .checkpoints import save_whole
from .networks import TEXT_WIDTH, TextEncoder
from .prompts import FastTokenizer

PEAK_RATE = 2e-3


def train_text_encoder(
    out: Path,
    words: list[str],
    length: int,
    classes: list[int],
    sample: Callable[[random.Random], tuple[str, list[int]]],
    minutes: float,
    batch: int = 96,
) -> None:
    """Minimises the cross-entropy of linear heads on the mean of the text states. Resumes from `out`.

    `sample` draws a sentence and one label per head (-100: the sentence does not name the attribute).
    """
    tokenizer = FastTokenizer(words)
    torch.manual_seed(0)
    encoder, heads = TextEncoder(len(words), length), nn.Linear(TEXT_WIDTH, sum(classes))
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    spent, step = 0.0, 0
    if out.exists():
        saved = torch.load(out)
        spent, step = saved["spent"], saved["step"]
        if saved["done"]:
            return
        (
            encoder.load_state_dict(saved["text_encoder"]),
            heads.load_state_dict(saved["heads"]),
            optimizer.load_state_dict(saved["optimizer"]),
        )
    rng, budget, share = random.Random(step), Budget(minutes, spent), spent / (minutes * 60)

    def save(done: bool) -> None:
        save_whole(
            {
                "text_encoder": encoder.state_dict(),
                "heads": heads.state_dict(),
                "optimizer": optimizer.state_dict(),
                "spent": budget.spent,
                "step": step,
                "done": done,
            },
            out,
        )

    correct, labelled = torch.zeros(len(classes)), torch.zeros(len(classes))
    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * warm_stable_decay(step, share)
        drawn = [sample(rng) for _ in range(batch)]
        ids, mask = tokenizer([text for text, _ in drawn])
        longest = int(mask.sum(1).max())
        ids, mask, labels = ids[:, :longest], mask[:, :longest], torch.tensor([label for _, label in drawn])
        states, keep = encoder(ids, mask), mask[:, :, None].float()
        answers = heads((states * keep).sum(1) / keep.sum(1)).split(classes, 1)
        losses = [
            F.cross_entropy(a, labels[:, i]) for i, a in enumerate(answers) if (labels[:, i] >= 0).any()
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for i, a in enumerate(answers):
            labelled[i] += (labels[:, i] >= 0).sum()
            correct[i] += (a.argmax(1) == labels[:, i]).sum()
        step, share = step + 1, budget.tick()
        if step % 100 == 0:
            print(
                f"text step {step} {budget.spent:.0f}s "
                f"correct {[round(v, 3) for v in (correct / labelled).tolist()]}",
                flush=True,
            )
            correct.zero_(), labelled.zero_()
        if step % 500 == 0:
            save(done=False)
    save(done=True)
