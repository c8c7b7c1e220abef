"""What a stage keeps between its steps."""

from pathlib import Path

import torch


def save_whole(state: dict, out: Path) -> None:
    """Replaces `out` at once: a run that is cut off meanwhile leaves the checkpoint before."""
    partial = out.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(out)
