"""Memory of the device, and the part of it that this process holds."""

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
    """On a GPU, what the process has reserved."""
    allocated_mib: int = 0
    """The part of it that is in use; 0 when it is not known."""
    peak_mib: int = 0
    """Most memory that the process has used during its last run; 0 when it is not known."""
    free_mib: int | None = None
    """Memory of the device that nobody uses."""


def host_memory() -> Memory:
    """
    Returns the memory of the host and the resident memory of this process (its peak, on systems without
    /proc).
    """
    page = os.sysconf("SC_PAGE_SIZE")
    statm = Path("/proc/self/statm")
    if statm.is_file():
        used = int(statm.read_text().split()[1]) * page
    else:
        # macOS counts in bytes, other systems in KiB.
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Memory(total_mib=os.sysconf("SC_PHYS_PAGES") * page // MIB, used_mib=max(1, used // MIB))
