"""The accounting of a GPU's memory, with torch's figures of a GPU in place of a GPU."""

from typing import Any

import pytest
import torch
from tempera_diffusers.device_memory import DeviceMemory
from tempera_engine import Memory

MIB = 2**20
CUDA = torch.device("cuda:0")


class Gpu:
    """Figures of `torch.cuda`, in MiB. `others` is what other processes hold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, others: int) -> None:
        self.reserved, self.allocated, self.peak, self.others = 30_000, 29_000, 30_000, others
        self.is_dead = False
        figures: dict[str, Any] = {
            "mem_get_info": self._free_and_total,
            "memory_reserved": lambda _: self.reserved * MIB,
            "memory_allocated": lambda _: self.allocated * MIB,
            "max_memory_reserved": lambda _: self.peak * MIB,
            "reset_peak_memory_stats": lambda _: setattr(self, "peak", self.reserved),
            "empty_cache": lambda: setattr(self, "reserved", self.allocated),
        }
        for name, figure in figures.items():
            monkeypatch.setattr(f"torch.cuda.{name}", figure)

    def _free_and_total(self, _device: torch.device) -> tuple[int, int]:
        if self.is_dead:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return (80_000 - self.reserved - 600 - self.others) * MIB, 80_000 * MIB

    def work(self, mib: int) -> None:
        """A run that needs so much beyond the weights, which stays reserved."""
        self.reserved = self.peak = self.allocated + mib


def test_reports_what_is_reserved_in_use_and_free_and_the_peak_of_the_last_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(monkeypatch, others=0)
    memory = DeviceMemory(CUDA)
    assert memory.report() == Memory(80_000, 30_000, 29_000, 0, 49_400)
    with memory.measured():
        gpu.work(20_000)
    assert memory.report() == Memory(80_000, 49_000, 29_000, 49_000, 30_400)
    gpu.reserved = 29_000
    with memory.measured():
        gpu.work(2_000)
    assert memory.report().peak_mib == 31_000


@pytest.mark.parametrize(("others", "kept"), [(0, 49_000), (20_000, 29_000)])
def test_empties_its_cache_after_a_run_when_others_share_the_device(
    monkeypatch: pytest.MonkeyPatch, others: int, kept: int
) -> None:
    gpu = Gpu(monkeypatch, others=others)
    memory = DeviceMemory(CUDA)
    for failure in (None, ValueError):
        try:
            with memory.measured():
                gpu.work(20_000)
                if failure:
                    raise failure
        except ValueError:
            pass
        report = memory.report()
        # The peak is that of the run, not what is left of it.
        assert (report.used_mib, report.peak_mib) == (kept, 49_000)


def test_answers_with_the_last_report_when_the_device_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker would take an engine without an answer for one that hangs, and blame the run on it."""
    gpu = Gpu(monkeypatch, others=0)
    memory = DeviceMemory(CUDA)
    before = memory.report()
    gpu.is_dead = True
    assert memory.report() == before


def test_is_the_memory_of_the_host_on_a_cpu() -> None:
    report = DeviceMemory(torch.device("cpu")).report()
    assert 0 < report.used_mib < report.total_mib
    assert (report.peak_mib, report.free_mib) == (0, None)
