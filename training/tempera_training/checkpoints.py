"""Checkpoints of the stages."""

from pathlib import Path

import torch


def save_whole(state: dict, out: Path) -> None:
    """Replaces `out` atomically: an interrupted run leaves the previous checkpoint."""
    partial = out.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(out)
