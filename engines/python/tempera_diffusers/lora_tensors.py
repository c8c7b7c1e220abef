"""
The check of LoRA weights before any library reads their names: strangers send them, and diffusers and peft
loop, match patterns and allocate by what the names and shapes say.
"""

import math
import re
from collections.abc import Mapping

import torch

TENSORS_MAX = 5_000
NAME_LENGTH_MAX = 300
NUMBER_MAX = 999
"""Largest number in a name: the networks have fewer blocks."""
RANK_MAX = 512
ALPHA_MAX = 1e6

DOWN = (".lora_A.weight", ".lora_A.default.weight", ".lora_down.weight", ".lora.down.weight")
"""Endings of the first matrix, whose rows are the rank."""
UP = (".lora_B.weight", ".lora_B.default.weight", ".lora_up.weight", ".lora.up.weight")
"""Endings of the second matrix, whose columns are the rank; in the order of `DOWN`."""
OTHER = (".diff", ".diff_b", ".dora_scale", ".lora_B.bias")
"""Endings that diffusers knows and mostly leaves out."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


def check_tensors(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises a `ValueError` that names a tensor and what is wrong with it."""
    if not 0 < len(tensors) <= TENSORS_MAX:
        raise ValueError(f"the file has {len(tensors)} tensors; it should have 1 to {TENSORS_MAX}")
    ranks: dict[str, int] = {}
    for name, tensor in tensors.items():
        fault = _fault_of(name, tensor, ranks)
        if fault:
            raise ValueError(f"{name[:100]!r} {fault}")


def _fault_of(name: str, tensor: torch.Tensor, ranks: dict[str, int]) -> str:
    """Returns what is wrong with a tensor. `ranks` has those of the matrices before it, by their layer."""
    if len(name) > NAME_LENGTH_MAX or not re.fullmatch(r"[A-Za-z0-9_.]+", name):
        return "is no name of a layer"
    if any(int(digits) > NUMBER_MAX for digits in re.findall(r"\d+", name)):
        return f"has a number above {NUMBER_MAX} in its name"
    if tensor.dtype not in FLOATS:
        return f"has numbers of the type {tensor.dtype}"
    if not torch.isfinite(tensor.float()).all():
        return "has values that are no numbers"
    if name.endswith(".alpha"):
        fits = tensor.numel() == 1 and 0 < float(tensor) <= ALPHA_MAX
        return "" if fits else f"should be one number above 0, at most {ALPHA_MAX:g}"
    for endings, at in ((DOWN, 0), (UP, 1)):
        for kind, ending in enumerate(endings):
            if name.endswith(ending):
                return _fault_of_matrix(f"{kind} {name.removesuffix(ending)}", tensor, at, ranks)
    return "" if name.endswith(OTHER) else "is no tensor of LoRA weights"


def _fault_of_matrix(layer: str, tensor: torch.Tensor, at: int, ranks: dict[str, int]) -> str:
    if tensor.dim() != 2 or math.prod(tensor.shape) == 0:
        return f"has the shape {list(tensor.shape)}; it should be a matrix"
    rank = tensor.shape[at]
    if rank > RANK_MAX:
        return f"has the rank {rank}, above {RANK_MAX}"
    if ranks.setdefault(layer, rank) != rank:
        return f"has the rank {rank}, and its other matrix {ranks[layer]}"
    return ""
