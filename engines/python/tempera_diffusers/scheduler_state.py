"""
The state of a scheduler of diffusers between two steps, as plain data and tensors, and back.

A scheduler keeps its state in attributes: the step it is at, and, when it is a multistep one (UniPC), what the network said at
the steps before. All attributes of plain kinds are taken, so it fits schedulers that are not written yet; one with an attribute of
another kind (a random generator, say) has no checkpoints.
"""

from typing import Any

import torch

DERIVED = ("timesteps",)
"""Made anew by `set_timesteps`; while a run goes on from a step it holds the rest only."""


class NoPlainState(Exception):
    """An attribute of the scheduler cannot be written down; the text names it."""


def take_state(scheduler: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The attributes as JSON holds them; tensors go into `tensors`, under the names that stand in their place."""

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            key = f"scheduler.{len(tensors)}"
            # A clone: tensors that share memory cannot be stored side by side.
            tensors[key] = value.detach().cpu().clone().contiguous()
            return {"tensor": key, "on": value.device.type}
        if isinstance(value, list | tuple):
            return {"list": [plain(name, item) for item in value]}
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        raise NoPlainState(f"{type(scheduler).__name__}.{name}")

    attributes = {name: value for name, value in vars(scheduler).items() if name not in DERIVED and not callable(value)}
    attributes.pop("_internal_dict", None)  # Its configuration.
    return {name: plain(name, value) for name, value in attributes.items()}


def give_state(scheduler: Any, state: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device) -> None:
    """:param device: where tensors go that were not on the host"""

    def value(entry: dict[str, Any]) -> Any:
        if "tensor" in entry:
            tensor = tensors[entry["tensor"]]
            return tensor if entry["on"] == "cpu" else tensor.to(device)
        if "list" in entry:
            return [value(item) for item in entry["list"]]
        return entry["value"]

    for name, entry in state.items():
        setattr(scheduler, name, value(entry))
