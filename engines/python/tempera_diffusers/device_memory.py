"""Accounting of the memory of a CUDA device, on which other processes may be too."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tempera_engine import Memory
from tempera_engine.memory import MIB, host_memory

CONTEXT_MIB = 1024
"""Most memory that a context of CUDA takes besides what torch reserves. What is beyond belongs to others."""


class DeviceMemory:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peak = 0
        self._last: Memory | None = None

    @contextmanager
    def measured(self) -> Iterator[None]:
        """
        Measures the peak of a run. Gives what torch holds in reserve back afterwards when others are on the
        device: an idle engine must not keep them short.
        """
        if self._device.type != "cuda":
            yield
            return
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            yield
        finally:
            self._peak = torch.cuda.max_memory_reserved(self._device) // MIB
            if self._is_shared():
                torch.cuda.empty_cache()

    def report(self) -> Memory:
        """Returns the last report when the device does not answer: the next run tells what it has met."""
        if self._device.type != "cuda":
            return host_memory()
        try:
            free, total = torch.cuda.mem_get_info(self._device)
        except RuntimeError:
            return self._last or host_memory()
        self._last = Memory(
            total_mib=total // MIB,
            used_mib=max(1, torch.cuda.memory_reserved(self._device) // MIB),
            allocated_mib=torch.cuda.memory_allocated(self._device) // MIB,
            peak_mib=self._peak,
            free_mib=free // MIB,
        )
        return self._last

    def _is_shared(self) -> bool:
        memory = self.report()
        free = memory.total_mib if memory.free_mib is None else memory.free_mib
        return memory.total_mib - free - memory.used_mib > CONTEXT_MIB
