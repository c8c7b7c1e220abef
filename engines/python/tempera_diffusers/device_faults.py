"""
Recognises exceptions of torch that mean that the device faulted, or that its memory is full.

CUDA calls a fault "sticky" when every later call of the process fails with it: the process has lost its
context on the device, and only another process gets a new one.
"""

from typing import Any

import torch
from tempera_engine import DeviceFault, EngineError

from .reasons import reason_of

_BY_A_KERNEL = {
    700: "illegal memory access",
    702: "launch timed out",
    710: "device-side assert",
    715: "illegal instruction",
    716: "misaligned address",
    717: "operation not supported on global/shared address space",
    718: "invalid program counter",
    719: "unspecified launch failure",
    721: "tensor memory not completely freed",
}
"""Sticky faults that a kernel causes, perhaps because of the input: numbers and texts of CUDA."""

_OF_THE_DEVICE = {
    46: "busy or unavailable",
    100: "no CUDA-capable device is detected",
    214: "uncorrectable ECC error",
    220: "uncorrectable NVLink error",
    226: "contained error",
    709: "context is destroyed",
    714: "hardware stack error",
    911: "error on an external device",
}
"""Sticky faults that no input can cause."""

_MEMORY_FULL = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
)


def is_memory_full(error: BaseException) -> bool:
    """Tells whether an allocation failed. The device survives that."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_FULL)


def fault_of(error: Exception, device: torch.device) -> DeviceFault | None:
    """Returns the fault of the device behind an exception of a run; None when the device works on."""
    if isinstance(error, EngineError) or is_memory_full(error):
        return None
    return _known_fault(error) or _fault_now(device)


def require_device(device: torch.device) -> None:
    """
    Raises `DeviceFault` when the device is dead before a run has begun: what ran before, perhaps until its
    cancel, left it so.
    """
    fault = _fault_now(device)
    if fault is not None:
        raise DeviceFault(str(fault), of_device=True)


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all that was requested. Raises a fault that it has met."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _fault_now(device: torch.device) -> DeviceFault | None:
    try:
        synchronize(device)
    except Exception as error:
        return None if is_memory_full(error) else _known_fault(error) or _fault(error, of_device=False)
    return None


def _known_fault(error: Exception) -> DeviceFault | None:
    if not isinstance(error, RuntimeError):
        return None
    text, number = str(error), getattr(error, "error_code", None)
    if isinstance(error, torch.distributed.DistBackendError) or "NCCL" in text:
        return _fault(error, of_device=True)
    if not is_of_accelerator(error):
        return None
    for faults, of_device in ((_OF_THE_DEVICE, True), (_BY_A_KERNEL, False)):
        if number in faults or any(known in text for known in faults.values()):
            return _fault(error, of_device=of_device)
    return None


def is_of_accelerator(error: Exception) -> bool:
    """Tells whether CUDA raised it. torch 2.7 and older have a `RuntimeError` for that."""
    known: Any = getattr(torch, "AcceleratorError", ())
    return isinstance(error, known) or "CUDA error" in str(error)


def _fault(error: Exception, *, of_device: bool) -> DeviceFault:
    return DeviceFault(f"The device faulted: {reason_of(error).rstrip('.')}.", of_device=of_device)
