"""
Converts the state of a diffusers scheduler between two steps to plain data and tensors, and back.

A scheduler keeps its state in attributes: its current step and, for a multistep scheduler (UniPC), the
network's output at the steps before. All attributes of plain types are stored, so this also fits future
schedulers. A scheduler with an attribute of another type, such as a random generator, has no checkpoints.
"""

from typing import Any

import torch

DERIVED = ("timesteps",)
"""Computed by `set_timesteps`, which a resumed run calls as well."""


class UnserializableState(Exception):
    """An attribute of the scheduler cannot be stored. The text names it."""


def write_state(scheduler: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """
    Returns the attributes as JSON values. Tensors are added to `tensors` under the names that replace them.
    """

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
        raise UnserializableState(f"{type(scheduler).__name__}.{name}")

    attributes = {
        name: value for name, value in vars(scheduler).items() if name not in DERIVED and not callable(value)
    }
    attributes.pop("_internal_dict", None)  # Its configuration.
    return {name: plain(name, value) for name, value in attributes.items()}


def read_state(
    scheduler: Any, state: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
) -> None:
    """
    Sets the attributes of a scheduler.

    :param device: receives the tensors that were not on the host
    """

    def value(entry: dict[str, Any]) -> Any:
        if "tensor" in entry:
            tensor = tensors[entry["tensor"]]
            return tensor if entry["on"] == "cpu" else tensor.to(device)
        if "list" in entry:
            return [value(item) for item in entry["list"]]
        return entry["value"]

    for name, entry in state.items():
        setattr(scheduler, name, value(entry))
