"""How much memory there is, and how much this process holds."""

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class Memory:
    total_mib: int
    used_mib: int


def host_memory() -> Memory:
    """The host's memory and this process's resident part of it (on systems without /proc: its peak)."""
    page = os.sysconf("SC_PAGE_SIZE")
    statm = Path("/proc/self/statm")
    if statm.is_file():
        used = int(statm.read_text().split()[1]) * page
    else:
        # macOS counts in bytes, the others in KiB.
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Memory(total_mib=os.sysconf("SC_PHYS_PAGES") * page // MIB, used_mib=max(1, used // MIB))
