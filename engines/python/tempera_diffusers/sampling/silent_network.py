"""Networks that answer without computing anything, for the steps of a resumed run that were done before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput

ROLES = ("transformer", "unet")
"""Beginnings of the names that pipelines give to the networks that denoise: `transformer_2` is one too."""


@contextmanager
def silent(pipeline: Any) -> Iterator[None]:
    """Lets the denoising networks of a pipeline answer zeros of the right shape."""
    with ExitStack() as networks:
        for name, part in pipeline.components.items():
            if name.startswith(ROLES) and isinstance(part, torch.nn.Module):
                networks.callback(_silence(part))
        yield


def _silence(network: torch.nn.Module) -> Callable[[], None]:
    """
    Replaces the `forward` of a network, together with what others have put around it: hooks that offload a
    network must not move it onto the device for this. Returns the function that puts it back.
    """
    own = network.__dict__.get("forward")

    @wraps(network.forward)
    def forward(hidden_states: torch.Tensor, *_: Any, return_dict: bool = True, **__: Any) -> Any:
        zeros = _zeros_for(network, hidden_states)
        return Transformer2DModelOutput(sample=zeros) if return_dict else (zeros,)

    def restore() -> None:
        if own is None:
            del network.__dict__["forward"]
        else:
            network.__dict__["forward"] = own

    network.__dict__["forward"] = forward
    return restore


def _zeros_for(network: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """
    Makes zeros of the shape of a prediction. Tokens come out as wide as they went in; images and videos come
    out with the channels of the latents, without those of a condition.
    """
    if hidden_states.ndim == 3:
        return torch.zeros_like(hidden_states)
    return torch.zeros_like(hidden_states[:, : network.config.out_channels])
