"""
Runs a request again when the memory of the device is full: with an emptied cache, then with less need.

Each try goes on after the last step of the one before.
"""

import gc
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from tempera_engine import EngineError, Run

from .sampling.denoising import keeping_steps
from .device_faults import is_memory_full

Output = TypeVar("Output")

log = logging.getLogger("tempera_diffusers")


def run_within_memory(
    run: Run, pipeline: Any, device: torch.device, *, resident: bool, work: Callable[[], Output]
) -> Output:
    """
    Calls `work`, and again when the memory is full. Raises `EngineError` when the last try fails too.

    :param resident: all networks are on the device, so that moving some of them off it frees memory
    """
    tried = ["an emptied cache"]
    with keeping_steps(), ExitStack() as relief:
        output, full = _attempt(work)
        if full is not None:
            _make_room(run, full)
            output, full = _attempt(work)
        if full is not None:
            tried += _need_less(run, pipeline, device, resident, relief)
            _make_room(run, full)
            output, full = _attempt(work)
    if full is not None:
        empty_cache()
        raise EngineError("runner_out_of_memory", _sentence(run.input, device, full, tried))
    return output  # type: ignore[return-value]


def empty_cache() -> None:
    """Gives the memory that torch holds in reserve back to the device."""
    gc.collect()
    torch.cuda.empty_cache()


@contextmanager
def offloaded(pipeline: Any, device: torch.device) -> Iterator[None]:
    """Holds each network in host memory while another one runs."""
    pipeline.enable_model_cpu_offload(device=device)
    try:
        yield
    finally:
        pipeline.remove_all_hooks()
        if not _fits(lambda: pipeline.to(device)):
            empty_cache()
            pipeline.enable_model_cpu_offload(device=device)


def _attempt(work: Callable[[], Output]) -> tuple[Output | None, str | None]:
    """
    Returns the output, or the text of the error when the memory is full. The error itself is dropped: its
    frames hold the tensors of the failed run.
    """
    try:
        return work(), None
    except Exception as error:
        if not is_memory_full(error):
            raise
        return None, str(error)


def _fits(work: Callable[[], object]) -> bool:
    return _attempt(work)[1] is None


def _make_room(run: Run, full: str) -> None:
    run.check()
    log.warning("Request %s: %s", run.request_id, full.splitlines()[0])
    empty_cache()


def _need_less(
    run: Run, pipeline: Any, device: torch.device, resident: bool, relief: ExitStack
) -> list[str]:
    """Lowers the need for memory until `relief` is closed. Returns what was done."""
    done = []
    vae: Any = getattr(pipeline, "vae", None)
    if hasattr(vae, "enable_tiling") and not getattr(vae, "use_tiling", False):
        vae.enable_tiling()
        relief.callback(vae.disable_tiling)
        done.append("decoding in tiles")
        run.log("WARN", "The device's memory is full: the result is decoded in tiles.")
    if resident and device.type == "cuda":
        empty_cache()
        relief.enter_context(offloaded(pipeline, device))
        done.append("the networks off the device in turn")
    return done


def _sentence(input_value: Mapping[str, Any], device: torch.device, full: str, tried: list[str]) -> str:
    needed = re.search(r"Tried to allocate ([\d.]+ \w+)", full)
    missing = f"{needed[1]} more were needed" if needed else "an allocation failed"
    return (
        f"{device} has too little memory for this request ({_size_of(input_value)}): {missing}, also with "
        f"{' and '.join(tried)}. Ask for a smaller size or fewer frames or images; or its operator sets "
        "parameters.offload of model.yaml, or serves the model on a larger device."
    )


def _size_of(input_value: Mapping[str, Any]) -> str:
    size = input_value.get("image_size", input_value.get("resolution"))
    if isinstance(size, dict):
        size = f"{size.get('width', 512)}x{size.get('height', 512)}"
    parts = [str(size)] if size is not None else []
    for field, noun in (("num_frames", "frames"), ("num_images", "images")):
        if field in input_value:
            parts.append(f"{input_value[field]} {noun}")
    return ", ".join(parts) or "of its default size"
