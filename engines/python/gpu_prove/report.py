"""Measures: each is a line of JSON, on the standard output and in `<out>/<phase>.jsonl`."""

import gc
import json
import os
import time
from collections.abc import Callable
from typing import Any

import diffusers
import torch
import transformers

from .settings import Settings

GIB = 2**30


class Report:
    def __init__(self, phase: str, settings: Settings, until: float) -> None:
        """:param until: seconds after which no further measure begins"""
        self._began = time.monotonic()
        self._until = until
        self._device = settings.device
        self.has_gpu = self._device.type == "cuda"
        self._path = settings.out / f"{phase}.jsonl"
        self._path.write_text("")

    def say(self, what: str, **facts: Any) -> None:
        line = json.dumps({"at": round(time.monotonic() - self._began, 1), "what": what, **facts})
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(f"{line}\n")

    def facts(self) -> None:
        self.say(
            "facts",
            torch=torch.__version__,
            diffusers=diffusers.__version__,
            transformers=transformers.__version__,
            device=torch.cuda.get_device_name(self._device) if self.has_gpu else "cpu",
            hostGiB=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        )

    def measure(self, name: str, work: Callable[[], None], *, seconds: float) -> None:
        """
        Calls `work`, which says what it measures. When it fails the reason is said, and the next goes on.

        :param seconds: about what it takes; it is left out when less time is left
        """
        if time.monotonic() - self._began + seconds > self._until:
            self.say(name, skipped=f"fewer than {seconds:g} of {self._until:g} seconds are left")
            return
        if self.has_gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            work()
        except Exception as error:
            self.say(name, error=f"{type(error).__name__}: {str(error)[:300]}")
        self.free()

    def free(self) -> None:
        gc.collect()
        if self.has_gpu:
            torch.cuda.empty_cache()

    def wait(self) -> None:
        """Waits until the device has done all that it was told."""
        if self.has_gpu:
            torch.cuda.synchronize()

    def median(self, work: Callable[[], Any], *, times: int = 3, warm: int = 1) -> float:
        """Returns the middle of the seconds that `work` takes until the device is done."""
        for _ in range(warm):
            work()
        return sorted(self.seconds(work) for _ in range(times))[times // 2]

    def seconds(self, work: Callable[[], Any]) -> float:
        self.wait()
        since = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - since

    def memory(self) -> dict[str, float]:
        if not self.has_gpu:
            return {}
        return {
            "allocatedGiB": round(torch.cuda.memory_allocated() / GIB, 2),
            "peakGiB": round(torch.cuda.max_memory_allocated() / GIB, 2),
            "reservedGiB": round(torch.cuda.memory_reserved() / GIB, 2),
        }


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)
