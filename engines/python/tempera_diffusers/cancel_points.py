"""
Cancelling a run in the middle of a denoising step: before each layer of each network.

A step of a model with 14 billion parameters at 720p takes half a minute; each of its layers takes a fraction
of a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from tempera_engine import Run

_run: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def cancelled_by(run: Run) -> Iterator[None]:
    """Ends the computations of this thread with `RunCancelled` when the run is cancelled."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def add_cancel_points(pipeline: Any) -> None:
    """
    Adds a check before each layer. Layers are the members of a `ModuleList`: the blocks of transformers and
    encoders, the stages of autoencoders.
    """
    for component in pipeline.components.values():
        if not isinstance(component, torch.nn.Module):
            continue
        for module in component.modules():
            if isinstance(module, torch.nn.ModuleList):
                for layer in module:
                    layer.register_forward_pre_hook(_check)


def _check(_module: torch.nn.Module, _args: Any) -> None:
    run = _run.get()
    if run is not None:
        run.check()
