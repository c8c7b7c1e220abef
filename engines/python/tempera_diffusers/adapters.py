"""LoRA weights that requests name: loaded once, kept by their digest, and active during their runs only."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from safetensors.torch import load_file
from tempera_engine import Fault, InputFile, InputInvalid, Run

from .device_faults import is_memory_full, is_of_accelerator
from .fields import Fields
from .lora_tensors import check_tensors
from .parameters import Parameters
from .reasons import reason_of

SCALE_MAX = 4.0
LORAS_MAX = 3
"""Adapters of one request, as in fal's schemas."""

NETWORKS = {"high": ("transformer",), "low": ("transformer_2",), "both": ("transformer", "transformer_2")}
"""The networks that each value of a LoRA's `transformer` names: Wan's experts for high and low noise."""


def networks_of(pipeline: Any) -> list[Any]:
    """The networks that denoise."""
    found = [getattr(pipeline, name, None) for name in NETWORKS["both"]]
    return [network for network in found if network is not None]


def networks_for(pipeline: Any, wanted: str) -> tuple[str, ...]:
    """
    The names of the networks that a value of `transformer` means. A model with a single network has no
    experts to choose from.
    """
    present = tuple(name for name in NETWORKS["both"] if getattr(pipeline, name, None) is not None)
    return NETWORKS[wanted] if len(present) > 1 else present


def is_scale(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= SCALE_MAX


def is_expert(value: Any) -> bool:
    return isinstance(value, str) and value in NETWORKS


@dataclass(frozen=True)
class Lora:
    """One of the `loras` of an input."""

    index: int
    file: InputFile
    scale: float
    networks: tuple[str, ...]


def read_loras(fields: Fields, run: Run, pipeline: Any, parameters: Parameters) -> list[Lora]:
    """Reads `loras`: a list of {path, scale, transformer, weight_name}. Collects faults as `Fields` does."""
    items = fields.value("loras")
    if not items:
        return []
    if not isinstance(items, list) or len(items) > LORAS_MAX:
        fields.fault(["loras"], f"Input should be a list of at most {LORAS_MAX} items", "list_type")
        return []
    objection = parameters.objection_to_loras
    if find_spec("peft") is None:
        objection = "this engine has no package `peft`"
    if objection:
        message = f"This model takes no LoRA weights ({objection}); leave `loras` empty."
        fields.fault(["loras"], message, "feature_not_supported")
        return []
    read = (_read_lora(fields, run, index, item, pipeline) for index, item in enumerate(items))
    return [lora for lora in read if lora is not None]


def _read_lora(fields: Fields, run: Run, index: int, item: Any, pipeline: Any) -> Lora | None:
    loc: list[str | int] = ["loras", index]
    if not isinstance(item, dict):
        fields.fault(loc, "Input should be an object", "dict_type")
        return None
    file = run.input_file(item.get("path"))
    if file is None:
        fields.fault([*loc, "path"], "Field required", "missing")
    scale = item.get("scale", 1.0)
    if not is_scale(scale):
        message = f"Input should be a number from 0 to {SCALE_MAX:g}"
        fields.fault([*loc, "scale"], message, "float_type")
        scale = 1.0
    wanted = item.get("transformer") or "high"
    if not is_expert(wanted):
        message = f"Input should be {', '.join(map(repr, NETWORKS))}"
        fields.fault([*loc, "transformer"], message, "literal_error")
        wanted = "high"
    if file is None:
        return None
    return Lora(index, file, float(scale), networks_for(pipeline, wanted))


class _Unfit(Exception):
    """LoRA weights do not fit a network. The text tells the caller why."""


class Adapters:
    """
    The adapters of a pipeline's networks. The weights of the networks themselves are never changed: without
    an active adapter a run gives the bytes of the model as it was loaded.
    """

    def __init__(self, pipeline: Any, kept_mib_max: int) -> None:
        self._pipeline = pipeline
        self._kept_bytes_max = kept_mib_max * 2**20
        self._kept: OrderedDict[tuple[str, str], int] = OrderedDict()
        """
        The bytes of each loaded adapter of requests, by network and digest; the least recently used first.
        """
        self._own: set[tuple[str, str]] = set()
        """Those of the model's recipes, which stay loaded."""

    def add(self, loras: Sequence[Lora]) -> None:
        """Loads weights of the model's own. Raises a `ValueError` for those that do not fit."""
        for lora in loras:
            for network in lora.networks:
                key = (network, lora.file.sha256)
                if key not in self._own:
                    try:
                        self._load(network, lora)
                    except _Unfit as unfit:
                        raise ValueError(f"{lora.file.path.name}: {unfit}") from unfit
                    self._own.add(key)

    @contextmanager
    def active(self, run: Run, loras: Sequence[Lora]) -> Iterator[None]:
        """Activates adapters for one run. Raises `InputInvalid` for weights that do not fit the networks."""
        scales: dict[str, dict[str, float]] = {}
        try:
            for lora in loras:
                for network in lora.networks:
                    self._require(run, network, lora)
                    of_network = scales.setdefault(network, {})
                    name = _name(lora.file.sha256)
                    of_network[name] = of_network.get(name, 0.0) + lora.scale
            for network, of_network in scales.items():
                model = getattr(self._pipeline, network)
                model.set_adapters(list(of_network), list(of_network.values()))
                model.enable_lora()
            yield
        except Exception as error:
            if is_memory_full(error):
                # Another try may need the memory of adapters that are not even used.
                self._evict(0)
            raise
        finally:
            for network in {network for network, _ in [*self._kept, *self._own]}:
                getattr(self._pipeline, network).disable_lora()
            self._evict(self._kept_bytes_max)

    def _require(self, run: Run, network: str, lora: Lora) -> None:
        key = (network, lora.file.sha256)
        if key in self._own:
            return
        if key not in self._kept:
            try:
                unused = self._load(network, lora)
            except _Unfit as unfit:
                fault = Fault(["loras", lora.index, "path"], str(unfit), "value_error")
                raise InputInvalid([fault]) from unfit
            if unused:
                run.log("WARN", f"`loras[{lora.index}]`: {unused}")
            self._kept[key] = lora.file.bytes
        self._kept.move_to_end(key)

    def _load(self, network: str, lora: Lora) -> str:
        """Loads weights. Returns a sentence about those that have no use, if there are any."""
        model = getattr(self._pipeline, network)
        name = _name(lora.file.sha256)
        try:
            state = self._state_of(model, lora.file)
            model.load_lora_adapter(
                state,
                prefix="transformer",
                adapter_name=name,
                low_cpu_mem_usage=True,
                _pipeline=self._pipeline,
            )
            used = _loaded_tensors(model, name)
        except Exception as error:
            # The rest of the adapter would be in the way of another try.
            self._drop(network, name)
            # Strangers' tensors make diffusers and peft fail in many ways; a fault of the device is none.
            if is_of_accelerator(error) or is_memory_full(error):
                raise
            reason = reason_of(error)[:200]
            raise _Unfit(f"These LoRA weights do not fit this model: {reason}") from error
        if used == 0:
            self._drop(network, name)
            raise _Unfit("These LoRA weights are of another model: no tensor of theirs fits.")
        # A loaded adapter is active, also in a network that a request sets none for.
        model.disable_lora()
        unused = len(state) - used
        return f"{unused} of {len(state)} tensors have no use." if unused > 0 else ""

    def _state_of(self, model: Any, file: InputFile) -> dict[str, torch.Tensor]:
        """Reads the tensors under the names that diffusers gives them."""
        tensors = load_file(file.path)
        check_tensors(tensors)
        state: dict[str, torch.Tensor] = self._pipeline.lora_state_dict(tensors)
        expand = getattr(self._pipeline, "_maybe_expand_t2v_lora_for_i2v", None)
        if expand is not None:
            state = expand(transformer=model, state_dict=state)
        if not all("lora" in name for name in state):
            raise ValueError("it has tensors that are none of LoRA.")
        if not any(name.startswith("transformer.") for name in state):
            state = {f"transformer.{name}": tensor for name, tensor in state.items()}
        return state

    def _drop(self, network: str, name: str) -> None:
        """Removes what a failed load has left."""
        model = getattr(self._pipeline, network)
        if name in getattr(model, "peft_config", {}):
            model.delete_adapters(name)

    def _evict(self, bytes_max: int) -> None:
        while sum(self._kept.values()) > bytes_max:
            (network, digest), _ = self._kept.popitem(last=False)
            self._drop(network, _name(digest))


def _name(digest: str) -> str:
    return f"lora_{digest[:32]}"


def _loaded_tensors(model: Any, name: str) -> int:
    if name not in getattr(model, "peft_config", {}):
        return 0
    from peft import get_peft_model_state_dict

    return len(get_peft_model_state_dict(model, adapter_name=name))
