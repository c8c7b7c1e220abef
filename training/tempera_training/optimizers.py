"""The optimizers of the transformers' stages."""

from collections.abc import Iterable

import torch


def transformer_optimizers(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]], rate: float
) -> list[torch.optim.Optimizer]:
    """Makes Muon (Jordan et al., 2024) for the blocks' matrices and AdamW for the rest."""
    named = list(named_parameters)
    matrices = [p for n, p in named if "blocks" in n and p.ndim == 2 and "table" not in n]
    chosen = {id(p) for p in matrices}
    return [
        torch.optim.Muon(matrices, rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [p for _, p in named if id(p) not in chosen], rate, betas=(0.9, 0.98), weight_decay=0.01
        ),
    ]


def begin_step(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Sets the learning rate and clears the gradients."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
