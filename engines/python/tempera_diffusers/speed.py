"""Settings of a manifest that make the networks faster or smaller. Each is tried when the model is loaded."""

from collections.abc import Callable
from typing import Any

import torch

from .adapters import networks_of
from .parameters import Parameters
from .reasons import reason_of


def prepare(pipeline: Any, parameters: Parameters, device: torch.device) -> None:
    """Applies the settings. Raises a `ValueError` that names one which this model or device cannot have."""

    def attempt(name: str, value: object, work: Callable[[Any], object]) -> None:
        try:
            for network in networks_of(pipeline):
                work(network)
        except Exception as error:
            refused = f"parameters.{name} of model.yaml: {value!r} cannot be used on {device}"
            raise ValueError(f"{refused}: {reason_of(error)}") from error

    if parameters.weightStorage:
        storage = getattr(torch, parameters.weightStorage)
        attempt(
            "weightStorage",
            parameters.weightStorage,
            lambda network: network.enable_layerwise_casting(
                storage_dtype=storage, compute_dtype=network.dtype
            ),
        )
    if parameters.attention:
        attempt(
            "attention",
            parameters.attention,
            lambda network: network.set_attention_backend(parameters.attention),
        )
    if parameters.compile:
        # The blocks of a network are alike, so one compiled block serves all; sizes are dynamic, so that a
        # new one costs nothing.
        attempt(
            "compile",
            True,
            lambda network: network.compile_repeated_blocks(fullgraph=True, dynamic=True),
        )
